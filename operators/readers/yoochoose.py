"""`yoochoose`: clicks of the RecSys Challenge 2015, as prepared for session-rec or as published."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from operators.readers.table import Row, header_names, read_epoch_ms, read_table, read_time_ms
from state.events import Event, Item
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.dead_letters import DeadLetter

PREPARED = ["SessionId", "ItemId", "Time"]
PUBLISHED = ["SessionId", "Timestamp", "ItemId", "Category"]


def read(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """Tab-separated with a header, or the commas of `yoochoose-clicks.dat`, published without one.

    A session id is one anonymous visitor. Rows are sorted by session, not by time.
    """
    remaining = iter(lines)
    first = next(remaining, b"")
    names = header_names(first)
    is_published = len(names) == len(PUBLISHED)
    has_header = not is_published or names == [name.lower() for name in PUBLISHED]
    yield from read_table(
        chain([first], remaining),
        _published if is_published else _prepared,
        format_name="yoochoose",
        header=PUBLISHED if is_published else PREPARED,
        has_header=has_header,
        source=source,
        now_ms=now_ms,
        limits=limits,
        delimiter="," if is_published else "\t",
    )


def _prepared(row: Row) -> Event:
    session, item, at = row.fields
    return _click(row, session, item, read_epoch_ms(at, "Time", unit_ms=1000))


def _published(row: Row) -> Event:
    session, at, item, _ = row.fields
    return _click(row, session, item, read_time_ms(at, "Timestamp"))


def _click(row: Row, session: str, item: str, event_ts: int) -> Event:
    return Event(
        event_id=row.event_id,
        type="item_view",
        event_ts=event_ts,
        anonymous_id=session or None,
        items=(Item(item_id=item),),
    )
