"""Readers of recorded logs: lines in, canonical events and dead letters out, in constant memory.

To add a format of tables: one file here with a `read`, one line in `READERS`; `docs/formats.md` shows
one. Of JSON records: see `operators.readers.records`, they are all read as lines here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from operators.readers import online_retail, rees46, retailrocket, yoochoose
from operators.readers.records import (
    FORMAT_ALIASES,
    RECORD_READERS,
    FormatTable,
    line_reader,
    read_canonical_lines,
)
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.dead_letters import DeadLetter
    from state.events import Event


class Reader(Protocol):
    """Lines, without or with their line ends, to one result for each event or bad record.

    Promises: lazy and in constant memory; the same lines give the same results; no exception but
    `UserError` where the lines are of another format. A byte order mark is no fault. `source` goes into
    dead letters, `now_ms` is what "too far in the future" is held against.
    """

    def __call__(
        self, lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
    ) -> Iterator[Event | DeadLetter]:
        """Read all lines."""


READERS: dict[str, Reader] = FormatTable(
    {
        **{name: line_reader(record_reader) for name, record_reader in RECORD_READERS.items()},
        "penstock": read_canonical_lines,
        "rees46": rees46.read,
        "retailrocket": retailrocket.read,
        "yoochoose": yoochoose.read,
        "online-retail": online_retail.read,
    }
)

FORMATS = (*READERS, *FORMAT_ALIASES)
"""All names that a person may give."""


def read_log(
    format_name: str, lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits
) -> Iterator[Event | DeadLetter]:
    """Read a log of that format; a reader that knows no limits keeps to those that are the default."""
    reader = READERS[format_name]
    if limits == DEFAULT:
        return reader(lines, source=source, now_ms=now_ms)
    return reader(lines, source=source, now_ms=now_ms, limits=limits)


UNSORTED_FORMATS = frozenset({"retailrocket", "yoochoose"})
"""Formats whose published files do not go by time: sort their events before replaying them."""
