"""A Redis Cluster gets the same content as one server, also when nodes stop, move slots or fail."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot

from flows.runtime.replay import replay_recordings
from operators.synthetic.traffic import generate_events
from state import keys
from state.store import AsyncAppender, AsyncPipe, Fence, Lease, Store
from tests.pages import in_loop
from tests.redis_cluster import PRIMARIES, RedisCluster, until
from tests.streams import content, flow_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.store import Command


@pytest.fixture(scope="module")
def running() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: RedisCluster) -> RedisCluster:
    for node in running.nodes:
        node.client.flushall()
    return running


def opened(cluster: RedisCluster, url: str = "", replicas: int = 0) -> Store:
    return Store(url or cluster.url, timeout_ms=500, patience_s=30, replicas=replicas)


def commands(count: int, value: str = "x") -> list[Command]:
    return [
        command
        for n in range(count)
        for command in (
            ("HSET", keys.profile_key(f"u{n}"), "a", value),
            ("DEL", keys.session_key(f"u{n}"), keys.segments_key(f"u{n}")),
            ("XADD", keys.changes_key(f"u{n}"), f"{n + 1}-0", "n", n),
        )
    ]


def test_every_key_is_written_to_its_node_and_can_be_read(cluster: RedisCluster) -> None:
    store = opened(cluster)
    store.check()
    store.send(commands(300))
    store.flush()
    assert len(dict(store.rows())) == 300 + keys.CHANGE_STREAMS + 1
    assert all(node.client.dbsize() for node in cluster.nodes)
    store.close()


def test_the_plain_url_of_one_node_finds_the_cluster(cluster: RedisCluster) -> None:
    store = opened(cluster, f"redis://127.0.0.1:{cluster.nodes[0].port}")
    store.check()
    store.send(commands(300))
    store.flush()
    assert len(dict(store.rows())) == 300 + keys.CHANGE_STREAMS + 1
    store.close()


def test_a_server_of_many_requests_reads_and_appends(cluster: RedisCluster) -> None:
    async def run(url: str) -> list[Any]:
        pipe = AsyncPipe(url, timeout_ms=5000, call_timeout_s=5.0)
        appender = AsyncAppender(url, timeout_ms=5000)
        try:
            await appender.append([(keys.events_key(n), b"%d" % n) for n in range(8)])
            calls = [pipe.call([("XLEN", keys.events_key(n))]) for n in range(8)]
            return [*await asyncio.gather(*calls)]
        finally:
            await pipe.close()
            await appender.close()

    plain = f"redis://127.0.0.1:{cluster.nodes[0].port}"
    assert in_loop(run(cluster.url)) == [[1]] * 8
    assert in_loop(run(plain)) == [[2]] * 8


def test_keys_of_different_nodes_are_deleted(cluster: RedisCluster) -> None:
    store = opened(cluster, f"redis://127.0.0.1:{cluster.nodes[0].port}")
    names = [keys.session_key(f"shopper {n}") for n in range(100)]
    store.send([*(("SET", name, 1) for name in names), *(("DEL", name) for name in names)])
    store.flush()
    assert not dict(store.rows())
    store.close()


def test_a_cluster_is_reported_as_one(cluster: RedisCluster) -> None:
    about = opened(cluster, f"redis://127.0.0.1:{cluster.nodes[0].port}").server_info()
    assert about.kind == "cluster"
    assert about.version
    assert not about.is_too_old


def test_writes_follow_a_slot_that_moves(cluster: RedisCluster) -> None:
    """First asked of the node it goes to, key by key; in the end moved there."""
    store = opened(cluster)
    name = keys.top_key("mover", "home")
    number = key_slot(name.encode())
    source = cluster.nodes[number * PRIMARIES // 16384]
    target = cluster.nodes[(number * PRIMARIES // 16384 + 1) % PRIMARIES]
    store.send([("SET", name, 1)])
    store.flush()
    command = source.client.execute_command
    target.client.execute_command("CLUSTER", "SETSLOT", number, "IMPORTING", source.id)
    command("CLUSTER", "SETSLOT", number, "MIGRATING", target.id)
    command("MIGRATE", "127.0.0.1", target.port, name, 0, 1000)
    store.send([("SET", name, 2), ("SET", name, 3)])
    store.flush()
    for node in cluster.nodes:
        node.client.execute_command("CLUSTER", "SETSLOT", number, "NODE", target.id)
    store.send([("SET", name, 4)])
    store.flush()
    assert dict(store.rows()) == {name: b"4"}
    assert target.client.get(name) == b"4"
    store.close()
    target.client.delete(name)
    for node in cluster.nodes:
        node.client.execute_command("CLUSTER", "SETSLOT", number, "NODE", source.id)


def test_writes_wait_for_a_stopped_node(cluster: RedisCluster) -> None:
    store = opened(cluster)
    store.send(commands(10))
    store.flush()
    cluster.nodes[1].pause()
    threading.Timer(0.8, cluster.nodes[1].go_on).start()
    store.send(commands(300))
    store.flush()
    assert len(dict(store.rows())) == 300 + keys.CHANGE_STREAMS
    store.close()


def test_a_takeover_disconnects_the_old_writer_on_every_node(cluster: RedisCluster) -> None:
    leases = [Lease(cluster.url, "shop", "a", 10) for _ in range(2)]
    old = Store(cluster.url, timeout_ms=500, patience_s=5, fence=Fence("shop", leases[0].acquire()))
    old.send(commands(30, "old"))
    old.flush()
    leases[1].acquire()
    for node in cluster.nodes:
        assert "penstock-shop" not in str(node.client.client_list())
    old.send(commands(30, "older"))
    with pytest.raises(Exception, match="another run took over shop"):
        old.flush()
    reader = opened(cluster)
    assert "older" not in repr(dict(reader.rows()))
    reader.close()
    for lease in leases:
        lease.release()


def test_no_acknowledged_write_is_lost_with_a_primary() -> None:
    """Its replica takes over; what it had not yet is sent again."""
    with RedisCluster(replicas=1) as cluster:
        store = opened(cluster, replicas=1)
        for round_ in range(3):
            store.send(commands(100, f"{round_}"))
            store.flush()
        lost = cluster.nodes[0]
        store.send([("SET", keys.top_key(f"u{n}", "home"), n) for n in range(500)])
        lost.kill()
        store.send([("SET", keys.top_key(f"u{n}", "home"), n) for n in range(500, 1000)])
        # The new primary has no replica: the rest is only confirmed when there is one again.
        until(lambda: any(node.client.role()[0] == b"master" for node in cluster.nodes[PRIMARIES:]))
        lost.start()
        store.flush()
        rows = dict(store.rows())
        assert {rows[keys.top_key(f"u{n}", "home")] for n in range(1000)} == {
            b"%d" % n for n in range(1000)
        }
        assert {rows[keys.profile_key(f"u{n}")][0] for n in range(100)} == {(b"a", b"2")}
        store.close()


def test_a_replay_writes_the_same_as_to_one_server(
    cluster: RedisCluster, redis_url: str, tmp_path: Path
) -> None:
    events = list(generate_events(events=1500, shoppers=200, items=50))
    for url in (cluster.url, redis_url):
        replay_recordings(
            {"shop": lambda: iter(events)},
            flow_settings(epoch_ms=20),
            redis_url=url,
            dead_letters=tmp_path / "dead_letters.jsonl",
        )
    assert content(cluster.url) == content(redis_url)
