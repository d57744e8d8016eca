"""Processes that are killed or stopped: the facts are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.outcome import assert_same, outcome
from tests.chaos.trial import Size, scenario, shop_records, undisturbed

if TYPE_CHECKING:
    from tests.chaos.trial import Scenarios
    from tests.chaos.world import World


SCENARIOS: Scenarios = {}


@scenario(SCENARIOS, "kill -9 a worker at random moments")
def kill_worker(world: World, size: Size) -> str:
    sent, rng = shop_records(size), random.Random(size.seed)
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


@scenario(SCENARIOS, "kill -9 one of two")
def kill_one_of_two(world: World, size: Size) -> str:
    sent, rng = shop_records(size), random.Random(size.seed)
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


@scenario(SCENARIOS, "stop one of two (SIGSTOP)")
def stop_one_of_two(world: World, size: Size) -> str:
    sent = shop_records(size)
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
