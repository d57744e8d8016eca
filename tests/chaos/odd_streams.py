"""Streams that no shop should send: the facts are those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from tests.chaos import shop
from tests.chaos.outcome import assert_same, outcome
from tests.chaos.trial import Size, killed_once, scenario, shop_records, undisturbed

if TYPE_CHECKING:
    from tests.chaos.trial import Scenarios
    from tests.chaos.world import World


SCENARIOS: Scenarios = {}


@scenario(SCENARIOS, "1 % poison messages")
def poison(world: World, size: Size) -> str:
    clean = shop_records(size)
    expected = undisturbed(world, clean)
    sent, junk = shop.poisoned(clean, 0.01)
    killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got, ignore=("events", "rejected"))
    rejected = sum(got.meta["rejected"].values())
    assert rejected == junk, f"{rejected} rejected, {junk} were poison"
    return f"{junk} set aside as {len(got.meta['rejected'])} kinds of dead letters"


@scenario(SCENARIOS, "every event twice")
def duplicates(world: World, size: Size) -> str:
    clean = shop_records(size)
    expected = undisturbed(world, clean)
    killed_once(world, shop.twice(clean), size)
    got = outcome(world.store())
    assert_same(expected, got, ignore=("events", "duplicates", "by_type", "accepted"))
    return f"{got.meta['duplicates']:,} found to be known"


@scenario(SCENARIOS, "shuffled within lateness")
def shuffled(world: World, size: Size) -> str:
    clean = shop_records(size)
    expected = undisturbed(world, clean)
    # Two events a second and five minutes of allowed lateness: 400 places are safe.
    killed_once(world, shop.delayed(clean, 400), size)
    assert_same(expected, outcome(world.store()), ignore=("sessions_closed",))
    return "each record up to 400 places late"


@scenario(SCENARIOS, "10 % late")
def late(world: World, size: Size) -> str:
    sent = shop.late(shop_records(size), 0.1)
    expected = undisturbed(world, sent)
    killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got)
    assert got.meta["late"] > len(sent) / 20
    return f"{got.meta['late']:,} counted as late, in profiles all the same"


@scenario(SCENARIOS, "one producer's clock a day ahead")
def day_ahead(world: World, size: Size) -> str:
    clean = shop_records(size)
    sent = shop.a_day_ahead(clean, 0.02)
    orderly = undisturbed(world, clean)
    expected = undisturbed(world, sent)
    killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got)
    for field in ("revenue", "purchases", "views"):
        assert got.total(field) == orderly.total(field), f"{field} differs from the orderly shop's"
    assert got.meta["late"] <= orderly.meta["late"] + len(sent) / 50, "the others became late"
    return "2 % of events; nobody else became late"


@scenario(SCENARIOS, "one shopper with 30 % of the traffic")
def crowd(world: World, size: Size) -> str:
    sent = shop.crowded(shop_records(size), 0.3)
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


@scenario(SCENARIOS, "64 KB events")
def heavy(world: World, size: Size) -> str:
    sent = shop.heavy(shop_records(size), 63 * shop.KB, every=20)
    expected = undisturbed(world, sent)
    killed_once(world, sent, size)
    got = outcome(world.store())
    assert_same(expected, got)
    assert not got.meta["rejected"], got.meta["rejected"]
    return f"{len(sent) // 20:,} of them"
