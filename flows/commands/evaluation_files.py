"""The files that are evaluated: clicks out of every format, and what was wrong with them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flows.process.printing import complain
from flows.sources.files import LogFile
from operators.evaluation.clicks import collect
from operators.evaluation.event_clicks import from_events
from operators.evaluation.formats import FORMATS
from operators.readers import read
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.evaluation.clicks import Clicks, RawClick
    from operators.evaluation.formats import RawCase
    from operators.evaluation.impressions import ShownLog
    from state.config import Settings
    from state.dead_letters import DeadLetter

Parsed = TypeVar("Parsed", "RawClick", "RawCase")

ONE_SESSION_A_SHOPPER = frozenset({"sequences", "yoochoose"})
"""Formats whose shopper ids are session ids: a pause does not split them."""


def read_clicks(
    paths: Sequence[str], format_name: str, settings: Settings, shown: ShownLog | None = None
) -> Clicks:
    """The clicks of some files; `shown` hears what was recommended. Raises UserError.

    What a reader sets aside is told on standard error.
    """
    return collect(*(_clicks(path, format_name, settings, shown) for path in paths))


def session_gap_ms(format_name: str, settings: Settings) -> int | None:
    """After how long a pause a session ends; None where a shopper of the format is a session."""
    return None if format_name in ONE_SESSION_A_SHOPPER else settings.sessions.gap_ms


def naming(name: str, parsed: Iterator[Parsed]) -> Iterator[Parsed]:
    """Say which file a bad line is in."""
    try:
        yield from parsed
    except UserError as error:
        message = str(error)
        raise UserError(message if name in message else f"{name}: {message}") from error


def _clicks(
    path: str, format_name: str, settings: Settings, shown: ShownLog | None
) -> Iterator[RawClick]:
    set_aside, has_clicks = _SetAside(), False
    with LogFile(path) as file:
        if format_name in FORMATS:
            parsed = FORMATS[format_name](file.lines())
        else:
            now_ms = time.time_ns() // 1_000_000
            limits = settings.source.limits
            lines = file.lines(line_bytes_max=limits.event_bytes_max + 1)
            records = read(format_name, lines, source=file.name, now_ms=now_ms, limits=limits)
            parsed = from_events(records, settings.lists.weights, set_aside.add, shown)
        for click in naming(file.name, parsed):
            has_clicks = True
            yield click
    if set_aside.records and not has_clicks:
        raise UserError(
            f"{file.name}: {set_aside.told()} and found no click in the rest: is --format right?"
        )
    if set_aside.records:
        complain(f"{file.name}: {set_aside.told()}")


@dataclass
class _SetAside:
    """What a reader rejected: how many records, and what was wrong with the first."""

    records: int = 0
    first: str = ""

    def add(self, letter: DeadLetter) -> None:
        if not self.records:
            self.first = f"{letter.failure_type}, {letter.errors[0].message}, line {letter.offset}"
        self.records += 1

    def told(self) -> str:
        return f"set aside {self.records:,} of its records ({self.first})"
