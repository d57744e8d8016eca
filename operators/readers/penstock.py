"""`penstock`: the canonical event, one JSON object a line."""

from __future__ import annotations

from codecs import BOM_UTF8
from itertools import chain, islice
from typing import TYPE_CHECKING

from operators.decode import decode_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.deadletters import DeadLetter
    from state.events import Event


def read(lines: Iterable[bytes], *, source: str, now_ms: int) -> Iterator[Event | DeadLetter]:
    """One result a line; offsets are line numbers from 1. A byte order mark is no fault."""
    rest = iter(lines)
    unmarked = (line.removeprefix(BOM_UTF8) for line in islice(rest, 1))
    return decode_lines(
        chain(unmarked, rest), source=source, partition="0", first_offset=1, now_ms=now_ms
    )
