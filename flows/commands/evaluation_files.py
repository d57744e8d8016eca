"""Reads the files that are evaluated: clicks of every format, and a count of rejected records."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flows.process.printing import print_error
from flows.sources.files import LogFile
from operators.evaluation.clicks import collect
from operators.evaluation.event_clicks import clicks_from_events
from operators.evaluation.formats import FORMATS
from operators.readers.registry import read_log
from state.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.evaluation.clicks import ClickStream, RawClick
    from operators.evaluation.formats import RawCase
    from operators.evaluation.impressions import ImpressionLog
    from state.config import Settings
    from state.dead_letters import DeadLetter

Parsed = TypeVar("Parsed", "RawClick", "RawCase")

SESSION_FORMATS = frozenset({"sequences", "yoochoose"})
"""Formats whose shopper ids are session ids: a pause does not split such a session."""


def read_clicks(
    paths: Sequence[str],
    format_name: str,
    settings: Settings,
    impressions: ImpressionLog | None = None,
) -> ClickStream:
    """Read the clicks of files; `impressions` collects what was recommended. Raises UserError.

    Rejected records are reported on standard error.
    """
    return collect(*(_clicks(path, format_name, settings, impressions) for path in paths))


def session_gap_ms(format_name: str, settings: Settings) -> int | None:
    """Return the pause that ends a session (ms); None if a shopper of the format is a session."""
    return None if format_name in SESSION_FORMATS else settings.sessions.gap_ms


def errors_with_file_name(name: str, parsed: Iterator[Parsed]) -> Iterator[Parsed]:
    """Yield parsed rows; add the file name to the error about a bad line."""
    try:
        yield from parsed
    except DataError as error:
        message = str(error)
        raise DataError(message if name in message else f"{name}: {message}") from error


def _clicks(
    path: str, format_name: str, settings: Settings, impressions: ImpressionLog | None
) -> Iterator[RawClick]:
    rejected, has_clicks = RejectedRows(), False
    with LogFile(path) as file:
        if format_name in FORMATS:
            parsed = FORMATS[format_name](file.lines())
        else:
            now_ms = time.time_ns() // 1_000_000
            limits = settings.source.limits
            lines = file.lines(line_bytes_max=limits.event_bytes_max + 1)
            records = read_log(format_name, lines, source=file.name, now_ms=now_ms, limits=limits)
            parsed = clicks_from_events(records, settings.lists.weights, rejected.add, impressions)
        for click in errors_with_file_name(file.name, parsed):
            has_clicks = True
            yield click
    if rejected.count and not has_clicks:
        raise DataError(
            f"{file.name}: {rejected.message()} and found no click in the rest: is --format right?"
        )
    if rejected.count:
        print_error(f"{file.name}: {rejected.message()}")


@dataclass
class RejectedRows:
    """The records that a reader rejected: their number, and the error of the first."""

    count: int = 0
    first_error: str = ""

    def add(self, letter: DeadLetter) -> None:
        """Count a record."""
        if not self.count:
            self.first_error = (
                f"{letter.failure_type}, {letter.errors[0].message}, line {letter.offset}"
            )
        self.count += 1

    def message(self) -> str:
        """One line for a person."""
        return f"set aside {self.count:,} of its records ({self.first_error})"
