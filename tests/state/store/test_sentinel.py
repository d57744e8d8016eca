"""Through Sentinel the store follows the primary."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import redis

from flows.process.embedded_redis import EmbeddedRedis, find_server
from state.store import Store
from tests.redis_cluster import free_port, until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_writes_follow_a_failover(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ports = [free_port() for _ in range(3)]
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {ports[2]}\n"
        f"sentinel monitor shop 127.0.0.1 {ports[0]} 1\n"
        "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000\n"
    )
    with (
        EmbeddedRedis(port=str(ports[0])) as first,
        EmbeddedRedis(port=str(ports[1]), replicaof=f"127.0.0.1 {ports[0]}"),
        redis.Redis(port=ports[1]) as second,
        subprocess.Popen(
            [str(find_server()), str(config), "--sentinel"],
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
        ) as sentinel,
    ):
        until(lambda: second.info("replication")["master_link_status"] == "up")
        until(lambda: answers(ports[2]))
        watch = redis.Redis(port=ports[2])
        until(lambda: watch.info("sentinel")["master0"]["slaves"] == 1)
        watch.close()
        url = f"redis+sentinel://127.0.0.1:{ports[2]}/shop/0"
        store = Store(url, timeout_ms=500, patience_s=30)
        store.check()
        store.send([("SET", "ps:1:a", 1)])
        store.flush()
        first.stop()
        store.send([("SET", "ps:1:a", 2), ("SET", "ps:1:b", 2)])
        store.flush()
        assert second.mget("ps:1:a", "ps:1:b") == [b"2", b"2"]
        assert "has failed over: its newest writes may be lost" in caplog.text
        store.close()
        sentinel.kill()
