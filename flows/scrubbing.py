"""What Redis keeps as a history is rid of whoever was erased: change streams, recent events, webhooks.

The notices of erasures in the change streams say what is to be done, so nothing else has to be
remembered: whatever is older than its notice goes, in a pass over the streams; a notice goes after
`privacy.notice_days` of event time, by when whoever was told of the shopper has heard it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson

from state import keys
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.store import Store

    Fields = dict[bytes, bytes]

PAGE_ENTRIES = 10_000


def scrub(store: Store, notice_days: int) -> None:
    """Delete what is older than the notices; waits where Redis is away. Raises UserError as writes do.

    Each stream is read twice: whom a merge in one stream names may be erased in another.
    """
    erased, notices, newest_ms = _notices(store)
    if not erased:
        return
    before_ms = newest_ms - notice_days * DAY_MS
    for key, of_stream in notices.items():
        gone = [
            entry_id
            for entry_id, fields in _entries(store, key)
            if _is_old(entry_id, fields, erased, of_stream, before_ms)
        ]
        _delete(store, key, gone)
    recent = keys.recent_key()
    _delete(
        store,
        recent,
        [
            entry_id
            for entry_id, fields in _entries(store, recent)
            if any(one[3] <= erased.get(one[0], -1) for one in orjson.loads(fields[b"events"]))
        ],
    )
    _webhooks(store, erased)


def _notices(store: Store) -> tuple[dict[str, int], dict[str, dict[str, bytes]], int]:
    """Until when (ms) each was erased, the newest notice of each by stream, the newest time of all."""
    erased: dict[str, int] = {}
    notices: dict[str, dict[str, bytes]] = {}
    newest_ms = 0
    for stream in range(keys.CHANGE_STREAMS):
        key = keys.change_stream_key(stream)
        of_stream = notices[key] = {}
        for entry_id, fields in _entries(store, key):
            at_ms = int(fields[b"event_ts"])
            newest_ms = max(newest_ms, at_ms)
            if fields[b"kind"] == b"erase":
                name = fields[b"shopper"].decode()
                erased[name] = max(erased.get(name, 0), at_ms)
                of_stream[name] = entry_id
    return erased, notices, newest_ms


def _is_old(
    entry_id: bytes,
    fields: Fields,
    erased: dict[str, int],
    notices: dict[str, bytes],
    before_ms: int,
) -> bool:
    """Whether an entry is older than a notice about whom it names, or a notice that has stood enough."""
    name, at_ms = fields[b"shopper"].decode(), int(fields[b"event_ts"])
    if fields[b"kind"] == b"erase":
        return at_ms < before_ms or notices[name] != entry_id
    if name in notices and _place(entry_id) < _place(notices[name]):
        return True
    is_merge = fields[b"kind"] == b"merge"
    return is_merge and at_ms <= erased.get(fields[b"segment"].decode(), -1)


def _webhooks(store: Store, erased: dict[str, int]) -> None:
    """Dead letters of webhooks that name somebody erased, but for those that tell of the erasure."""
    names = {name: orjson.dumps(name) for name in erased}
    pattern = "ps:1:hooks:*:dead"
    for key in store.patiently(
        lambda: list(store.client.scan_iter(match=pattern, count=1000)), pattern
    ):
        gone = [
            entry_id
            for entry_id, fields in _entries(store, key)
            if b"Shopper Erased" not in fields[b"body"]
            and (
                fields[b"shopper"].decode() in erased
                or any(quoted in fields[b"body"] for quoted in names.values())
            )
        ]
        _delete(store, key, gone)


def _entries(store: Store, key: str | bytes) -> Iterator[tuple[bytes, Fields]]:
    start: bytes = b"-"
    while True:
        page = store.patiently(partial(_page, store, key, start), str(key))
        yield from page
        if len(page) < PAGE_ENTRIES:
            return
        start = b"(" + page[-1][0]


def _page(store: Store, key: str | bytes, start: bytes) -> list[tuple[bytes, Fields]]:
    page: list[tuple[bytes, Fields]] = store.client.xrange(key, min=start, count=PAGE_ENTRIES)
    return page


def _delete(store: Store, key: str | bytes, entries: list[bytes]) -> None:
    for at in range(0, len(entries), 1000):
        some = entries[at : at + 1000]
        store.patiently(lambda some=some: store.client.xdel(key, *some), str(key))  # type: ignore[misc]


def _place(entry_id: bytes) -> tuple[int, int]:
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)
