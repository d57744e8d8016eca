"""A pass that deletes erased shoppers from change streams, recent events and webhooks in Redis.

The erase notices in the change streams are the only input: the pass deletes all entries of a
shopper that are older than the shopper's notice. The notice itself is deleted after
`privacy.notice_days` of event time, when all consumers have read it. A pass reads every entry of
every stream.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import orjson

from state import keys
from state.replies import parse_entry_id
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.store import Store

    Fields = dict[bytes, bytes]

PAGE_ENTRIES = 1000


def scrub(
    store: Store, notice_days: int, pause: Callable[[float], None] = lambda page_s: None
) -> None:
    """Make one pass. It waits while Redis is away, and raises UserError as writes do.

    It reads each stream twice: a merge in one stream may name a shopper whose erasure is in
    another. `pause` is called after each page with the seconds that the page took.
    """
    reader = _StreamReader(store, pause)
    erased, notices, newest_ms = _notices(reader)
    if not erased:
        return
    notice_cutoff_ms = newest_ms - notice_days * DAY_MS
    for key, stream_notices in notices.items():
        entry_ids = [
            entry_id
            for entry_id, fields in reader.entries(key)
            if _must_delete(entry_id, fields, erased, stream_notices, notice_cutoff_ms)
        ]
        _delete_entries(store, key, entry_ids)
    recent = keys.recent_key()
    _delete_entries(
        store,
        recent,
        [
            entry_id
            for entry_id, fields in reader.entries(recent)
            if any(
                event[3] <= erased.get(event[0], -1) for event in orjson.loads(fields[b"events"])
            )
        ],
    )
    _scrub_webhooks(store, reader, erased)


def _notices(reader: _StreamReader) -> tuple[dict[str, int], dict[str, dict[str, bytes]], int]:
    """The erasure time (ms) of each shopper, the newest notice of each by stream, the newest time."""
    erased: dict[str, int] = {}
    notices: dict[str, dict[str, bytes]] = {}
    newest_ms = 0
    for stream in range(keys.CHANGE_STREAMS):
        key = keys.change_stream_key(stream)
        stream_notices = notices[key] = {}
        for entry_id, fields in reader.entries(key):
            at_ms = int(fields[b"event_ts"])
            newest_ms = max(newest_ms, at_ms)
            if fields[b"kind"] == b"erase":
                name = fields[b"shopper"].decode()
                erased[name] = max(erased.get(name, 0), at_ms)
                stream_notices[name] = entry_id
    return erased, notices, newest_ms


def _must_delete(
    entry_id: bytes,
    fields: Fields,
    erased: dict[str, int],
    notices: dict[str, bytes],
    notice_cutoff_ms: int,
) -> bool:
    """Whether an entry is older than the notice of its shopper, or an expired or repeated notice."""
    name, at_ms = fields[b"shopper"].decode(), int(fields[b"event_ts"])
    if fields[b"kind"] == b"erase":
        return at_ms < notice_cutoff_ms or notices[name] != entry_id
    if name in notices and parse_entry_id(entry_id) < parse_entry_id(notices[name]):
        return True
    is_merge = fields[b"kind"] == b"merge"
    return is_merge and at_ms <= erased.get(fields[b"segment"].decode(), -1)


def _scrub_webhooks(store: Store, reader: _StreamReader, erased: dict[str, int]) -> None:
    """Delete dead letters of webhooks about erased shoppers, except those of the erasure itself."""
    names = {name: orjson.dumps(name) for name in erased}
    pattern = "ps:1:hooks:*:dead"
    for key in store.with_retries(
        lambda: list(store.client.scan_iter(match=pattern, count=1000)), pattern
    ):
        entry_ids = [
            entry_id
            for entry_id, fields in reader.entries(key)
            if b"Shopper Erased" not in fields[b"body"]
            and (
                fields[b"shopper"].decode() in erased
                or any(quoted in fields[b"body"] for quoted in names.values())
            )
        ]
        _delete_entries(store, key, entry_ids)


class _StreamReader:
    """Reads streams page by page."""

    def __init__(self, store: Store, pause: Callable[[float], None]) -> None:
        self._store = store
        self._pause = pause

    def entries(self, key: str | bytes) -> Iterator[tuple[bytes, Fields]]:
        """All entries of a stream."""
        start: bytes = b"-"
        while True:
            began_s = time.perf_counter()
            page = self._store.with_retries(partial(_read_page, self._store, key, start), str(key))
            yield from page
            if len(page) < PAGE_ENTRIES:
                return
            start = b"(" + page[-1][0]
            self._pause(time.perf_counter() - began_s)


def _read_page(store: Store, key: str | bytes, start: bytes) -> list[tuple[bytes, Fields]]:
    page: list[tuple[bytes, Fields]] = store.client.xrange(key, min=start, count=PAGE_ENTRIES)
    return page


def _delete_entries(store: Store, key: str | bytes, entries: list[bytes]) -> None:
    for start in range(0, len(entries), 1000):
        chunk = entries[start : start + 1000]
        store.with_retries(lambda chunk=chunk: store.client.xdel(key, *chunk), str(key))  # type: ignore[misc]
