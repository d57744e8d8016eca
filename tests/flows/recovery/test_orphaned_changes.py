"""A live run continues after the entries of a crashed run, and undoes those that no longer hold."""

from __future__ import annotations

import numpy as np
import pytest

from flows.recovery.orphaned_changes import ChangeStreamReader
from operators.publish import memberships as membership_writes
from operators.segments.changes import ChangeLog
from operators.segments.compensation import compensate
from operators.segments.membership_index import MembershipIndex
from state import keys
from state.arrays import NO_ROW
from state.changes import Change
from state.store import Store

NAMES = ["ann", "bob", "cleo"]
LOST = [
    Change("enter", "ann", "cluster-0", 1000),
    Change("leave", "ann", "cluster-0", 2000),
    Change("enter", "ann", "cluster-1", 2000),
    Change("enter", "bob", "cluster-1", 3000),
]


def written(url: str, changes: list[Change], log: ChangeLog | None = None) -> ChangeLog:
    log = log or ChangeLog(1000)
    store = Store(url, timeout_ms=2000, patience_s=0)
    store.send(log.writes(changes))
    store.close()
    return log


def entries(url: str) -> list[tuple[bytes, bytes, bytes]]:
    client = Store(url, timeout_ms=2000, patience_s=0).client
    return [
        (fields[b"kind"], fields[b"shopper"], fields[b"segment"])
        for name in NAMES
        for _, fields in client.xrange(keys.changes_key(name))
        if fields[b"shopper"] == name.encode()
    ]


def test_entries_after_the_snapshot_are_found_and_new_entries_follow_them(redis_url: str) -> None:
    log = written(redis_url, LOST[:1])
    snapshot = dict(log.ids)
    written(redis_url, LOST[1:], log)
    lost, ids, _ = ChangeStreamReader(
        Store(redis_url, timeout_ms=2000, patience_s=0)
    ).orphans_after(snapshot)
    assert sorted(lost) == sorted(LOST[1:])
    assert ids == log.ids
    resumed = ChangeLog(1000)
    resumed.ids = ids
    # An older time than the last entry's: it is in the stream all the same.
    written(redis_url, [Change("enter", "ann", "cluster-2", 500)], resumed)
    assert entries(redis_url)[3] == (b"enter", b"ann", b"cluster-2")


def test_an_empty_redis_has_no_orphaned_changes(redis_url: str) -> None:
    before = ChangeStreamReader(Store(redis_url, timeout_ms=2000, patience_s=0))
    assert before.orphans_after({3: (7, 1)}) == ([], {3: (7, 1)}, frozenset())


def test_memberships_and_the_stream_agree_with_the_state_again(redis_url: str) -> None:
    # The state knows ann in cluster 0; a lost run had moved her on, and let bob in.
    audience = MembershipIndex([f"cluster-{n}" for n in range(3)])
    at_ms, cluster = np.array([1000], np.int64), np.array([0], np.int16)
    changes = audience.assign("cluster", ["ann"], np.array([0], np.int32), cluster, at_ms)
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    log = ChangeLog(1000)
    store.send([*log.writes(changes), *membership_writes.membership_writes(changes)])
    store.flush()
    expected = dict(store.rows("ps:1:s*"))
    snapshot = dict(log.ids)
    for name in ("ann", "bob"):
        store.send([("ZADD", keys.members_key("cluster-1"), 2000, name)])
        store.send([("HSET", keys.segments_key(name), "cluster-1", 2000)])
    store.send(
        [
            ("ZREM", keys.members_key("cluster-0"), "ann"),
            ("HDEL", keys.segments_key("ann"), "cluster-0"),
        ]
    )
    store.flush()
    written(redis_url, LOST[1:], log)

    lost, log.ids, _ = ChangeStreamReader(store).orphans_after(snapshot)
    righted, _ = compensate(audience, lost, lambda name: 0 if name == "ann" else NO_ROW)
    store.send([*log.writes(righted), *membership_writes.membership_writes(righted)])
    store.flush()

    assert dict(store.rows("ps:1:s*")) == expected
    last = {(shopper, segment): kind for kind, shopper, segment in entries(redis_url)}
    assert last == {
        (b"ann", b"cluster-0"): b"enter",
        (b"ann", b"cluster-1"): b"leave",
        (b"bob", b"cluster-1"): b"leave",
    }


BEGUN = [
    Change("enter", "ann", "cluster-0", 1000),
    Change("enter", "bob", "cluster-0", 1000),
    Change("enter", "cleo", "cluster-2", 1000),
]
LAST_BATCH = [
    Change("leave", "ann", "cluster-0", 2000),
    Change("enter", "ann", "cluster-1", 2000),
    Change("leave", "bob", "cluster-0", 2000),
    Change("enter", "cleo", "cluster-1", 2500),
    Change("leave", "cleo", "cluster-2", 2500),
]
HOLDS = [
    {},
    {"ann": [0], "bob": [0], "cleo": [2]},
    {"ann": [1], "cleo": [1]},
    {"ann": [0], "bob": [2]},
]
"""What the resumed run computed from the same log, by shopper: clusters, since 900."""


def memberships(store: Store) -> tuple[set[tuple[str, str, int]], set[tuple[str, str, int]]]:
    """As the shoppers' hashes have them, and as the segments do."""
    of_shoppers = {
        (name, sid.decode(), int(at_ms))
        for name in NAMES
        for sid, at_ms in store.client.hgetall(keys.segments_key(name)).items()
    }
    of_segments = {
        (name.decode(), sid, int(at_ms))
        for sid in (f"cluster-{n}" for n in range(3))
        for name, at_ms in store.client.zrange(keys.members_key(sid), 0, -1, withscores=True)
    }
    return of_shoppers, of_segments


@pytest.mark.parametrize("holds", HOLDS)
def test_a_batch_interrupted_anywhere_leaves_no_partial_membership(
    redis_url: str, holds: dict[str, list[int]]
) -> None:
    """A writer was stopped in the middle of its last batch, and another run took over."""
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    log = ChangeLog(1000)
    begun = [*log.writes(BEGUN), *membership_writes.membership_writes(BEGUN)]
    last = [*log.writes(LAST_BATCH), *membership_writes.membership_writes(LAST_BATCH)]
    for cut in range(len(last) + 1):
        store.client.flushall()
        store.send([*begun, *last[:cut]])
        store.flush()
        audience = MembershipIndex([f"cluster-{n}" for n in range(3)])
        for name, (cluster,) in holds.items():
            at_ms, place = np.array([900], np.int64), np.array([cluster], np.int16)
            row = np.array([NAMES.index(name)], np.int32)
            audience.assign("cluster", [name], row, place, at_ms)
        resumed = ChangeLog(1000)
        lost, resumed.ids, _ = ChangeStreamReader(store).orphans_after({})
        righted, again = compensate(audience, lost, NAMES.index)
        writes = [
            *membership_writes.membership_writes(again),
            *resumed.writes(righted),
            *membership_writes.membership_writes(righted),
        ]
        held = [
            Change("enter", name, f"cluster-{cluster}", 900)
            for name, (cluster,) in holds.items()
            if (name, f"cluster-{cluster}") not in {(one.shopper, one.segment) for one in lost}
        ]
        store.send([*writes, *membership_writes.membership_writes(held)])
        store.flush()
        expected = {(name, f"cluster-{cluster}", 900) for name, (cluster,) in holds.items()}
        assert memberships(store) == (expected, expected), cut
    store.close()
