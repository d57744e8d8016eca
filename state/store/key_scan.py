"""Reads every key of the contract with its value, a few at a time. Keys of operation are left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row = tuple[str, Any]
"""A key and its value in canonical form."""

_OPERATIONAL = re.compile(r"ps:1:(lease|worker|told)\b|.*}:(row|devices)$", re.DOTALL)
_KEYS_PER_BATCH = 500
_ENTRIES_PER_PAGE = 10_000
"""A larger sorted set or stream is read page by page, if the caller asks for that."""
_SIZES = {b"zset": "zcard", b"stream": "xlen"}


def read_rows(client: Any, pattern: str, *, in_parts: bool) -> Iterator[Row]:
    """Yield every key of a pattern with its value; `in_parts` as in `Store.rows`."""
    batch: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=5000):
        if _OPERATIONAL.match(key.decode()):
            continue
        batch.append(key)
        if len(batch) == _KEYS_PER_BATCH:
            yield from _values(client, batch, in_parts=in_parts)
            batch = []
    yield from _values(client, batch, in_parts=in_parts)


def _values(client: Any, keys: Sequence[bytes], *, in_parts: bool) -> Iterator[Row]:
    kinds = client.pipeline(transaction=False)
    for key in keys:
        kinds.type(key)
    typed = list(zip(keys, kinds.execute(), strict=True))
    large = _large(client, typed) if in_parts else set()
    reads = client.pipeline(transaction=False)
    for key, kind in typed:
        if key in large:
            continue
        match kind:
            case b"hash":
                reads.hgetall(key)
            case b"zset":
                reads.zrange(key, 0, -1, withscores=True)
            case b"stream":
                reads.xrange(key)
            case _:  # a string, or it expired between the two reads
                reads.get(key)
    small = [key for key, _ in typed if key not in large]
    for key, value in zip(small, reads.execute(), strict=True):
        if value is not None:
            canonical = sorted(value.items()) if isinstance(value, dict) else value
            yield key.decode(), canonical
    for key, kind in typed:
        if key in large:
            yield key.decode(), (_zset if kind == b"zset" else _stream)(client, key)


def _large(client: Any, typed: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    sizes = client.pipeline(transaction=False)
    sized = [(key, kind) for key, kind in typed if kind in _SIZES]
    for key, kind in sized:
        getattr(sizes, _SIZES[kind])(key)
    counted = zip(sized, sizes.execute(), strict=True)
    return {key for (key, _), size in counted if size > _ENTRIES_PER_PAGE}


def _zset(client: Any, key: bytes) -> Iterator[Any]:
    start = 0
    while page := client.zrange(key, start, start + _ENTRIES_PER_PAGE - 1, withscores=True):
        yield from page
        start += len(page)


def _stream(client: Any, key: bytes) -> Iterator[Any]:
    after = "-"
    while page := client.xrange(key, min=after, count=_ENTRIES_PER_PAGE):
        yield from page
        after = "(" + page[-1][0].decode()
