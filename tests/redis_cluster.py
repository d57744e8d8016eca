"""A real Redis Cluster for tests: three primaries, each with replicas if wanted, on free ports."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from flows.process.embedded_redis import find_server

if TYPE_CHECKING:
    from collections.abc import Callable

PRIMARIES = 3
NODE_TIMEOUT_MS = 1000
START_S_MAX = 20.0
BUS = 10_000


class Node:
    """One server of a cluster: its process, and a client for it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder / str(port)
        self._folder.mkdir()
        self.client: Any = redis.Redis(port=port, socket_timeout=5)
        self.start()

    def start(self) -> None:
        """Start it; it knows its cluster again."""
        log = (self._folder / "log").open("ab")
        self.process = subprocess.Popen(
            [
                str(find_server()),
                *("--port", str(self.port), "--dir", str(self._folder), "--save", ""),
                *("--bind", "127.0.0.1", "--cluster-enabled", "yes"),
                *("--cluster-node-timeout", str(NODE_TIMEOUT_MS)),
                *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        until(self._answers)

    def pause(self) -> None:
        """Let it answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()

    @property
    def id(self) -> str:
        """Its name in the cluster."""
        return str(self.client.execute_command("CLUSTER MYID").decode())

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


class RedisCluster:
    """A cluster for as long as the `with` block runs; `nodes` are the primaries, then the replicas."""

    def __init__(self, replicas: int = 0) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-cluster-"))
        self.nodes = [Node(self._folder, free_port()) for _ in range(PRIMARIES * (1 + replicas))]
        try:
            self._join()
        except BaseException:
            self._leave()
            raise

    def _join(self) -> None:
        primaries = self.nodes[:PRIMARIES]
        for number, node in enumerate(primaries):
            first, last = (16384 * n // PRIMARIES for n in (number, number + 1))
            node.client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last))
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.nodes[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        until(lambda: all(_known(node) == len(self.nodes) for node in self.nodes))
        for number, node in enumerate(self.nodes[PRIMARIES:]):
            of = primaries[number % PRIMARIES]
            until(partial(_replicates, node, of.id))
        until(lambda: all(_is_up(node) for node in self.nodes))
        for node in self.nodes[PRIMARIES:]:
            until(partial(_has_primary, node))

    def __enter__(self) -> RedisCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        for node in self.nodes:
            node.client.close()
            node.kill()
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        """All primaries."""
        names = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:PRIMARIES])
        return f"redis+cluster://{names}"


def until(reached: Callable[[], bool]) -> None:
    """Wait for something to come true."""
    give_up_at = time.monotonic() + START_S_MAX
    while not reached():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on now, nor on the one that its cluster's bus takes."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = int(one.getsockname()[1])
            try:
                with socket.create_server(("127.0.0.1", port - BUS)):
                    return port - BUS
            except OSError:
                continue


def _known(node: Node) -> int:
    return len(_lines(node))


def _lines(node: Node) -> list[str]:
    raw = node.client.connection_pool.get_connection()
    try:
        raw.send_command("CLUSTER", "NODES")
        return [
            line for line in raw.read_response().decode().splitlines() if "handshake" not in line
        ]
    finally:
        node.client.connection_pool.release(raw)


def _replicates(node: Node, primary_id: str) -> bool:
    try:
        node.client.execute_command("CLUSTER", "REPLICATE", primary_id)
    except redis.ResponseError:
        return False
    return True


def _has_primary(node: Node) -> bool:
    return bool(node.client.info("replication")["master_link_status"] == "up")


def _is_up(node: Node) -> bool:
    raw = node.client.connection_pool.get_connection()
    try:
        raw.send_command("CLUSTER", "INFO")
        return b"cluster_state:ok" in raw.read_response()
    finally:
        node.client.connection_pool.release(raw)
