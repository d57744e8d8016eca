"""After an erasure no byte names the shopper: Redis, the recovery folder, dead letters.

The notice of the erasure in the change streams is the one exception, for `privacy.notice_days`.
"""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import orjson
import pytest
import redis

from flows.recovery import checkpoint_reader, store_files
from flows.recovery.folder import open_recovery
from operators.events.decode import RecordPosition, decode
from state.store import Store
from tests.streams import ITEMS, MINUTE_MS, SHARDS, START_MS, event, flow_settings, run_flow, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.dead_letters import DeadLetter
    from state.events import Event

USER, ONE, OTHER = "zoé:kitten%7@mail", "device-of-zoé-1", "device {of} zoé 2"
GONE = (USER, ONE, OTHER)


def forms(name: str) -> set[bytes]:
    """An id as it may stand anywhere."""
    escaped = orjson.dumps(name)[1:-1]
    ascii_only = "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in name)
    return {
        name.encode(),
        quote(name, safe="").encode(),
        quote(name).encode(),
        name.replace("%", "%25")
        .replace(":", "%3A")
        .replace("{", "%7B")
        .replace("}", "%7D")
        .encode(),
        escaped,
        ascii_only.encode(),
        msgspec.msgpack.encode(name),
    }


def of_redis(url: str) -> Iterator[tuple[str, bytes]]:
    """Every key and value, but for the notices of erasures."""
    client: Any = redis.Redis.from_url(url)
    for key in client.scan_iter(count=1000):
        kind = client.type(key).decode()
        if kind == "stream":
            entries: Any = client.xrange(key)
            entries = [e for e in entries if e[1].get(b"kind") != b"erase"]
            yield (
                key.decode(),
                repr(entries).encode() + b"".join(v for _, f in entries for v in f.values()),
            )
        else:
            read: Any = {
                "string": client.get,
                "hash": client.hgetall,
                "set": client.smembers,
                "zset": lambda k: client.zrange(k, 0, -1, withscores=True),
            }[kind](key)
            yield key.decode(), flat(read)
        yield f"{key!r} itself", key


def flat(read: Any) -> bytes:
    if isinstance(read, bytes):
        return read
    if isinstance(read, dict):
        return b"\n".join(x for pair in read.items() for x in pair)
    return b"\n".join(
        x if isinstance(x, bytes) else flat(x) for x in read if not isinstance(x, float)
    )


def of_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def named(found: Iterator[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [
        (where, name)
        for where, data in found
        for name in GONE
        if any(form in data for form in forms(name))
    ]


def letter(raw: dict[str, Any], offset: int) -> Event | DeadLetter:
    data = orjson.dumps(raw)
    return decode(data, RecordPosition("s", "0", offset), now_ms=START_MS + 10**9)


def crowd(start: int, n: int = 60) -> list[Event]:
    return [
        view(f"c{k}", k * MINUTE_MS, f"crowd {k % 12}", country="DE")
        for k in range(start, start + n)
    ]


def shop() -> list[Event | DeadLetter]:
    """Two devices that become one user, who buys; others beside; and what was rejected of them."""
    broken = {"event_id": "b", "type": "item_view", "event_ts": "never", "anonymous_id": ONE}
    return [
        *crowd(0),
        view("z1", 60 * MINUTE_MS, ONE),
        event("identify", "z2", 61 * MINUTE_MS, ONE, USER),
        view("z3", 62 * MINUTE_MS, OTHER),
        event("identify", "z4", 63 * MINUTE_MS, OTHER, USER),
        event("purchase", "z5", 64 * MINUTE_MS, ONE, USER, order_id="o1", items=ITEMS[:3]),
        letter(broken, 1),
        letter({**broken, "anonymous_id": None, "user_id": USER}, 2),
        letter({**broken, "anonymous_id": "crowd 3"}, 3),
        *crowd(65, 20),
    ]


ERASE = event("erase", "gone", 90 * MINUTE_MS, None, USER)
LATE = [
    view("l1", 80 * MINUTE_MS, ONE),
    event("identify", "l2", 81 * MINUTE_MS, "another", USER),
    view("z3", 62 * MINUTE_MS, OTHER),
]


@pytest.mark.parametrize("batch_events", [1, 7, 1000])
@pytest.mark.parametrize("late", [[], LATE], ids=["at the end", "late events after it"])
def test_no_byte_names_who_is_erased(
    redis_url: str, tmp_path: Path, batch_events: int, late: list[Event]
) -> None:
    folder = tmp_path / "recovery"
    settings = flow_settings(batch_events=batch_events)
    stream = [*shop(), ERASE, *late, *crowd(91, 30)]
    run_flow(stream, redis_url, tmp_path, settings=settings, recovery_folder=folder)
    assert named(of_redis(redis_url)) == []
    assert named(of_folder(folder)) == []
    letters = (tmp_path / "dead_letters.jsonl").read_bytes()
    assert named(iter([("letters", letters)])) == []
    assert letters.count(b"\n") == 3
    assert b"crowd 3" in letters
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    names = {k for k, _ in store.rows() if "crowd" in k}
    assert names


def test_before_the_erasure_they_are_named_everywhere(redis_url: str, tmp_path: Path) -> None:
    """Or the test above could not fail."""
    folder = tmp_path / "recovery"
    run_flow(shop(), redis_url, tmp_path, recovery_folder=folder)
    assert len(named(of_redis(redis_url))) > 5
    assert {"users", "devices", "learned"} <= {
        where.split("-")[0].split(".")[0] for where, _ in named(of_folder(folder / "rows"))
    }


_SNAPS = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change)"


def test_a_start_leaves_no_byte_of_a_killed_run_in_the_store(
    redis_url: str, tmp_path: Path
) -> None:
    """Superseded snapshots, freed pages, and the write-ahead log that nobody closed."""
    folder = tmp_path / "recovery"
    run_flow(crowd(0), redis_url, tmp_path, recovery_folder=folder)
    store = folder / "store"
    before = checkpoint_reader.read_checkpoint(store, shards=SHARDS)
    killed = [
        sqlite3.connect(part, isolation_level=None) for part in store_files.partition_files(store)
    ]
    for part in killed:
        part.execute("CREATE TABLE freed AS SELECT ? AS name", (USER * 100,))
        part.execute("DROP TABLE freed")
        part.execute(
            f"{_SNAPS} SELECT step_id, state_key, -1 - snap_epoch, ? FROM snaps",
            ((ONE * 10).encode(),),
        )
        part.execute(
            f"{_SNAPS} SELECT step_id, state_key, ? - snap_epoch, ? FROM snaps "
            "WHERE snap_epoch < 0",
            (before.epoch + 1, (OTHER * 10).encode()),
        )
    assert {name for _, name in named(of_folder(store))} == set(GONE)
    shutil.copytree(store, tmp_path / "as it was")
    for part in killed:
        part.close()
    shutil.rmtree(store)
    (tmp_path / "as it was").rename(store)
    with open_recovery(folder, flow_settings()):
        assert named(of_folder(store)) == []
        assert checkpoint_reader.read_checkpoint(store, shards=SHARDS) == before
    assert named(of_folder(folder)) == []
