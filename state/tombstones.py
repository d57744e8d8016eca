"""Tombstones: which ids were erased, and up to which event time, as keyed hashes instead of ids.

A hash is the HMAC-SHA-256 of an id under the key of the environment. Sorted columns and no dict: every
shard of devices keeps all erased users, 40 bytes each. Stored by hash; the columns may change freely.
"""

from __future__ import annotations

import hmac
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from state import keys
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from state.messages import Write

_HEAD_BYTES = 8
_TAIL_BYTES = 24


def hash_id(key: bytes, name: str) -> bytes:
    """The hash that stands for an id.

    >>> hash_id(b"key", "ann").hex()[:16]
    '9d77c3180ff81edf'
    """
    return hmac.digest(key, name.encode(), "sha256")


class Tombstones:
    """For each erased id the newest event time (ms) that its erasure covers.

    Once a day of event time, tombstones older than `keep_ms` are dropped. `newest_ms` is the newest of
    all: an event after it needs no lookup. `changed` are the hashes that a snapshot has to write.
    """

    def __init__(self, key: bytes, keep_ms: int, stored: Mapping[bytes, int] | None = None) -> None:
        self.newest_ms = 0
        self.changed: set[bytes] = set()
        self._key = key
        self._keep_ms = keep_ms
        self._swept_ms = 0
        self._fill(sorted((stored or {}).items()))

    def __len__(self) -> int:
        """The number of tombstones."""
        return len(self._heads)

    def add(self, name: str, at_ms: int) -> None:
        """Record that an id was erased at an event time."""
        id_hash = hash_id(self._key, name)
        index, exists = self._find(id_hash)
        if exists:
            self._at_ms[index] = max(self._at_ms[index], at_ms)
        else:
            self._heads.insert(index, int.from_bytes(id_hash[:_HEAD_BYTES], "big"))
            offset = index * _TAIL_BYTES
            self._tails[offset:offset] = id_hash[_HEAD_BYTES:]
            self._at_ms.insert(index, at_ms)
        self.newest_ms = max(self.newest_ms, at_ms)
        self.changed.add(id_hash)

    def covers(self, name: str, at_ms: int) -> bool:
        """Whether an event of an id at this time was erased."""
        if at_ms > self.newest_ms:
            return False
        index, exists = self._find(hash_id(self._key, name))
        return exists and at_ms <= self._at_ms[index]

    def drop_expired(self, now_ms: int) -> None:
        """Drop the tombstones that are older than `keep_ms`."""
        if now_ms - self._swept_ms < DAY_MS or not self._heads:
            return
        self._swept_ms = now_ms
        kept_until_ms = {
            id_hash: at_ms for id_hash, at_ms in self.items() if at_ms > now_ms - self._keep_ms
        }
        if len(kept_until_ms) < len(self):
            self.changed.update(
                id_hash for id_hash, _ in self.items() if id_hash not in kept_until_ms
            )
            self._fill(sorted(kept_until_ms.items()))

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Hashes and times, by hash."""
        tails = self._tails
        for index, (head, at_ms) in enumerate(zip(self._heads, self._at_ms, strict=True)):
            tail = tails[index * _TAIL_BYTES : (index + 1) * _TAIL_BYTES]
            yield head.to_bytes(_HEAD_BYTES, "big") + tail, at_ms

    def take_changed(self) -> dict[bytes, int]:
        """The hashes that changed since the last call, with their times; 0 for a dropped one."""
        changed, self.changed = self.changed, set()
        newest_ms: dict[bytes, int] = {}
        for id_hash in sorted(changed):
            index, exists = self._find(id_hash)
            newest_ms[id_hash] = self._at_ms[index] if exists else 0
        return newest_ms

    def write_for(self, name: str, at_ms: int) -> list[Write]:
        """The Redis command for an erased id; none without a key that keeps the hash secret."""
        return (
            [] if not self._key else [self._tombstone_write(hash_id(self._key, name), at_ms, at_ms)]
        )

    def all_writes(self, now_ms: int) -> list[Write]:
        """The Redis commands for all tombstones, with their remaining lifetime."""
        if not self._key:
            return []
        return [
            self._tombstone_write(id_hash, at_ms, now_ms)
            for id_hash, at_ms in self.items()
            if at_ms + self._keep_ms > now_ms
        ]

    def _tombstone_write(self, id_hash: bytes, at_ms: int, now_ms: int) -> Write:
        left_s = (self._keep_ms - max(0, now_ms - at_ms)) // 1000
        return ("SET", keys.erased_key(id_hash.hex()), at_ms, "EX", max(1, left_s))

    def _find(self, id_hash: bytes) -> tuple[int, bool]:
        """The index of a hash, or where it belongs, and whether it exists."""
        head, tail = int.from_bytes(id_hash[:_HEAD_BYTES], "big"), id_hash[_HEAD_BYTES:]
        index = bisect_left(self._heads, head)
        while index < len(self._heads) and self._heads[index] == head:
            stored_tail = self._tails[index * _TAIL_BYTES : (index + 1) * _TAIL_BYTES]
            if stored_tail >= tail:
                return index, stored_tail == tail
            index += 1
        return index, False

    def _fill(self, items: list[tuple[bytes, int]]) -> None:
        self._heads = array(
            "Q", [int.from_bytes(id_hash[:_HEAD_BYTES], "big") for id_hash, _ in items]
        )
        self._tails = bytearray(b"".join(id_hash[_HEAD_BYTES:] for id_hash, _ in items))
        self._at_ms = array("q", [at_ms for _, at_ms in items])
        self.newest_ms = max(self._at_ms, default=0)
