"""What is broken, and what must hold then: each scenario ends with the facts of an undisturbed run.

A scenario takes the world and the size of it and answers with a note for the table; it raises
AssertionError where something was lost or counted twice.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos import shop
from tests.chaos.outcome import Outcome, assert_same, outcome
from tests.chaos.proxy import Proxy
from tests.kafka_broker import free_port
from tests.redis_cluster import RedisCluster, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chaos.shop import Record
    from tests.chaos.world import World

ROOT = Path(__file__).parents[2]
BEFORE = "f4db4c5"
"""The last commit whose snapshots are of version 1: whole shards."""


class Size(NamedTuple):
    """How much is sent, how fast, and how often something is killed."""

    events: int = 40_000
    per_s: float = 2000
    kills: int = 20
    seed: int = 7
    pause_s: float = 60

    @property
    def lasts_s(self) -> float:
        """How long sending takes."""
        return self.events / self.per_s


SCENARIOS: dict[str, Callable[[World, Size], str]] = {}
_expected: dict[int, Outcome] = {}


def scenario(name: str) -> Callable[[Callable[[World, Size], str]], Callable[[World, Size], str]]:
    """Put a function into the table."""

    def put(run: Callable[[World, Size], str]) -> Callable[[World, Size], str]:
        SCENARIOS[name] = run
        return run

    return put


def undisturbed(world: World, sent: list[Record]) -> Outcome:
    """What one process makes of records when nothing happens to it; the world begins anew after it."""
    known = hash(tuple(sent))
    if known not in _expected:
        world.send(sent)
        world.start()
        world.finish(len(sent))
        _expected[known] = outcome(world.store())
        world.begin()
    return _expected[known]


def _shop(size: Size) -> list[Record]:
    return shop.records(size.events, size.seed)


@scenario("kill -9 a worker at random moments")
def kill_worker(world: World, size: Size) -> str:
    sent, rng = _shop(size), random.Random(size.seed)
    expected = undisturbed(world, sent)
    # As slowly as it takes for the last kill to come before the last event.
    sending = world.sending(sent, per_s=min(size.per_s, len(sent) / (4 * size.kills)))
    worker, downs = world.start(), []
    for _ in range(size.kills):
        time.sleep(rng.uniform(0.2, 3))
        worker.kill()
        before, began_s = world.counted(), time.monotonic()
        worker = world.start()
        while world.counted() <= before and sending.is_alive():
            time.sleep(0.02)
        downs.append(time.monotonic() - began_s)
    sending.join()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    downs.sort()
    return (
        f"{size.kills} kills; back after {downs[len(downs) // 2]:.1f} s, {downs[-1]:.1f} s at worst"
    )


@scenario("kill -9 one of two")
def kill_one_of_two(world: World, size: Size) -> str:
    sent, rng = _shop(size), random.Random(size.seed)
    expected = undisturbed(world, sent)
    sending = world.sending(sent, per_s=size.per_s)
    cluster, kills = world.start(processes=2), max(1, size.kills // 4)
    for _ in range(kills):
        cluster.wait_ready()
        time.sleep(rng.uniform(0, 2))
        os.kill(rng.choice(cluster.children()), signal.SIGKILL)
    sending.join()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return f"{kills} kills; the supervisor restarted both each time"


@scenario("stop one of two (SIGSTOP)")
def stop_one_of_two(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    sending = world.sending(sent, per_s=size.per_s)
    cluster = world.start(processes=2)
    cluster.wait_ready()
    time.sleep(1)
    os.kill(cluster.children()[-1], signal.SIGSTOP)
    sending.join()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return "the supervisor noticed, and restarted both"


@scenario("broker killed and restarted")
def kill_broker(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    half = len(sent) // 2
    world.send(sent[:half])
    world.start()
    world.drain(half)
    world.broker.kill()
    time.sleep(5)
    world.broker.start()
    world.send(sent[half:])
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return "away for 5 s, between two halves of the log"


@scenario("Redis paused")
def pause_redis(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    server = int(world.store().client.info("server")["process_id"])
    sending = world.sending(sent, per_s=size.per_s)
    world.start().wait_ready()
    time.sleep(size.lasts_s / 4)
    os.kill(server, signal.SIGSTOP)
    time.sleep(size.pause_s)
    os.kill(server, signal.SIGCONT)
    sending.join()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return f"for {size.pause_s:.0f} s; the worker waited and caught up"


@scenario("Redis restarted")
def restart_redis(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    sending = world.sending(sent, per_s=size.per_s)
    world.start().wait_ready()
    time.sleep(size.lasts_s / 4)
    world.redis.stop()
    time.sleep(2)
    world.redis.start()
    sending.join()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return "away for 2 s, back with its append-only file"


@scenario("Redis failed over in a cluster")
def fail_over(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    with RedisCluster(replicas=1) as cluster:
        world.redis_url = cluster.url
        sending = world.sending(sent, per_s=size.per_s)
        world.start("--set", "redis.replicas=1").wait_ready()
        time.sleep(size.lasts_s / 4)
        primary, replica = cluster.nodes[0], cluster.nodes[3]
        primary.kill()
        until(lambda: replica.client.info("replication")["role"] == "master")
        # Back before its replica had taken over, it would serve as the primary, and be empty.
        primary.start()
        sending.join()
        world.finish(len(sent))
        got = outcome(world.store())
    world.redis_url = world.redis.url
    assert_same(expected, got)
    return "a primary killed, its replica took over; redis.replicas is 1"


@scenario("Redis slow")
def slow_redis(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    port = int(world.store().client.config_get("port")["port"])
    with Proxy(free_port(), port) as line:
        line.delay_s = 0.05
        world.redis_url = f"redis://127.0.0.1:{line.port}"
        world.send(sent)
        world.start()
        world.finish(len(sent))
    world.redis_url = world.redis.url
    assert_same(expected, outcome(world.store()))
    return "50 ms more for every 64 KB, both ways"


@scenario("network cut between worker and broker")
def cut_network(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    with world.behind_proxy() as line:
        sending = world.sending(sent, per_s=size.per_s)
        world.start().wait_ready()
        time.sleep(size.lasts_s / 4)
        line.cut()
        time.sleep(10)
        line.mend()
        sending.join()
        world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return "packets swallowed for 10 s"


@scenario("recovery disk full")
def disk_full(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    world.send(sent[: len(sent) // 2])
    with limited(resource.RLIMIT_FSIZE, 1 << 20):
        worker = world.start()
        code = worker.process.wait(60)
    assert code != 0, "it went on without a disk"
    assert "Traceback" not in worker.said, worker.said[-2000:]
    world.send(sent[len(sent) // 2 :])
    world.start()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return f"exit {code} and one line; went on when there was room"


@scenario("1 % poison messages")
def poison(world: World, size: Size) -> str:
    clean = _shop(size)
    expected = undisturbed(world, clean)
    sent, junk = shop.poisoned(clean, 0.01)
    _killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got, ignore=("events", "rejected"))
    rejected = sum(got.meta["rejected"].values())
    assert rejected == junk, f"{rejected} rejected, {junk} were poison"
    return f"{junk} set aside as {len(got.meta['rejected'])} kinds of dead letters"


@scenario("every event twice")
def duplicates(world: World, size: Size) -> str:
    clean = _shop(size)
    expected = undisturbed(world, clean)
    _killed_once(world, shop.twice(clean), size)
    got = outcome(world.store())
    assert_same(expected, got, ignore=("events", "duplicates", "by_type", "accepted"))
    return f"{got.meta['duplicates']:,} found to be known"


@scenario("shuffled within lateness")
def shuffled(world: World, size: Size) -> str:
    clean = _shop(size)
    expected = undisturbed(world, clean)
    # Two events a second and five minutes of allowed lateness: 400 places are safe.
    _killed_once(world, shop.delayed(clean, 400), size)
    assert_same(expected, outcome(world.store()), ignore=("sessions_closed",))
    return "each record up to 400 places late"


@scenario("10 % late")
def late(world: World, size: Size) -> str:
    sent = shop.late(_shop(size), 0.1)
    expected = undisturbed(world, sent)
    _killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got)
    assert got.meta["late"] > len(sent) / 20
    return f"{got.meta['late']:,} counted as late, in profiles all the same"


@scenario("one producer's clock a day ahead")
def day_ahead(world: World, size: Size) -> str:
    clean = _shop(size)
    sent = shop.a_day_ahead(clean, 0.02)
    orderly = undisturbed(world, clean)
    expected = undisturbed(world, sent)
    _killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got)
    for field in ("revenue", "purchases", "views"):
        assert got.total(field) == orderly.total(field), f"{field} differs from the orderly shop's"
    assert got.meta["late"] <= orderly.meta["late"] + len(sent) / 50, "the others became late"
    return "2 % of events; nobody else became late"


@scenario("one shopper with 30 % of the traffic")
def crowd(world: World, size: Size) -> str:
    sent = shop.crowded(_shop(size), 0.3)
    expected = undisturbed(world, sent)
    sending = world.sending(sent, per_s=4 * size.per_s)
    cluster = world.start(processes=2)
    cluster.wait_ready()
    time.sleep(1)
    os.kill(cluster.children()[0], signal.SIGKILL)
    sending.join()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return "two processes, one killed"


@scenario("64 KB events")
def heavy(world: World, size: Size) -> str:
    sent = shop.heavy(_shop(size), 63 * shop.KB, every=20)
    expected = undisturbed(world, sent)
    _killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got)
    assert not got.meta["rejected"], got.meta["rejected"]
    return f"{len(sent) // 20:,} of them"


@scenario("rescale 1 to 2 to 1")
def rescale(world: World, size: Size) -> str:
    sent = _shop(size)
    expected = undisturbed(world, sent)
    third = len(sent) // 3
    for place, processes in enumerate((1, 2, 1)):
        until = len(sent) if place == 2 else third * (place + 1)
        world.send(sent[third * place : until])
        world.start(processes=processes)
        world.finish(until)
    assert_same(expected, outcome(world.store()))
    return "a third of the log each"


@scenario("upgrade from the snapshots of the previous release")
def upgrade(world: World, size: Size) -> str:
    """A replay of a file begun by the commit before snapshots changed, ended by this one."""
    folder = world.recovery.parent
    log, before = folder / "log.jsonl", folder / "before"
    log.write_bytes(b"\n".join(record.value for record in _shop(size)))
    subprocess.run(
        ["git", "worktree", "add", "--detach", str(before), BEFORE],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    try:
        replay = ["replay", str(log), "--format", "penstock", "--redis", world.redis_url]
        replay += ["--dead-letters", str(folder / "dead.jsonl")]
        small = ["--set", "source.batch_events=500", "--set", "source.epoch_ms=100"]
        recovery = ["--recovery", str(world.recovery)]
        subprocess.run(
            [sys.executable, "-m", "flows", *replay, *small],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        expected = outcome(world.store())
        world.redis.send_command("FLUSHALL")
        old = subprocess.Popen(
            [sys.executable, "-m", "flows", *replay, *small, *recovery],
            cwd=before, env={**os.environ, "PYTHONPATH": str(before)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while world.counted() < size.events // 4:
            assert old.poll() is None, "the former release ended before it could be stopped"
            time.sleep(0.02)
        # As docs/operations.md has it: what it wrote after its last snapshot another release, whose
        # clusters are others, would not write again.
        old.terminate()
        old.wait()
        resumed_at = world.counted()
        subprocess.run(
            [sys.executable, "-m", "flows", *replay, *small, *recovery],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
    finally:
        subprocess.run(
            ["git", "worktree", "remove", "--force", str(before)],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
    # It knew no stages: who does not come again after it has none.
    assert_same(expected, outcome(world.store()), ignore=("stage",))
    return f"commit {BEFORE} stopped after {resumed_at:,} events, this one went on"


def _killed_once(world: World, sent: list[Record], size: Size) -> None:
    """Send at once, kill the worker in the middle, start it again, drain and stop."""
    world.send(sent)
    worker = world.start()
    while world.counted() < len(sent) // 4:
        assert worker.is_alive, worker.said[-2000:]
        time.sleep(0.005)
    worker.kill()
    world.start()
    world.finish(len(sent))


@contextmanager
def limited(what: int, most: int) -> Iterator[None]:
    """A limit for processes that are started inside."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)
