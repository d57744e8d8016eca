"""Broker, Redis, network or disk fail: the facts are those of an undisturbed run."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.chaos.outcome import assert_same, outcome
from tests.chaos.proxy import Proxy
from tests.chaos.trial import Size, scenario, shop_records, undisturbed
from tests.kafka_broker import free_port
from tests.redis_cluster import RedisCluster, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.trial import Scenarios
    from tests.chaos.world import World


SCENARIOS: Scenarios = {}


@scenario(SCENARIOS, "broker killed and restarted")
def kill_broker(world: World, size: Size) -> str:
    sent = shop_records(size)
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


@scenario(SCENARIOS, "Redis paused")
def pause_redis(world: World, size: Size) -> str:
    sent = shop_records(size)
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


@scenario(SCENARIOS, "Redis restarted")
def restart_redis(world: World, size: Size) -> str:
    sent = shop_records(size)
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


@scenario(SCENARIOS, "Redis failed over in a cluster")
def fail_over(world: World, size: Size) -> str:
    sent = shop_records(size)
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


@scenario(SCENARIOS, "Redis slow")
def slow_redis(world: World, size: Size) -> str:
    sent = shop_records(size)
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


@scenario(SCENARIOS, "network cut between worker and broker")
def cut_network(world: World, size: Size) -> str:
    sent = shop_records(size)
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


@scenario(SCENARIOS, "recovery disk full")
def disk_full(world: World, size: Size) -> str:
    sent = shop_records(size)
    expected = undisturbed(world, sent)
    world.send(sent[: len(sent) // 2])
    with limited(resource.RLIMIT_FSIZE, 1 << 20):
        worker = world.start()
        code = worker.process.wait(60)
    assert code != 0, "it went on without a disk"
    assert "Traceback" not in worker.stderr_text, worker.stderr_text[-2000:]
    world.send(sent[len(sent) // 2 :])
    world.start()
    world.finish(len(sent))
    assert_same(expected, outcome(world.store()))
    return f"exit {code} and one line; went on when there was space"


@contextmanager
def limited(resource_id: int, limit: int) -> Iterator[None]:
    """Limit a resource of the processes that are started inside the block."""
    before = resource.getrlimit(resource_id)
    resource.setrlimit(resource_id, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource_id, before)
