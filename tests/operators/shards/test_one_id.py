"""One id is one shopper, whether it comes as an anonymous id or as a user id; and nobody reaches the
shopper of another by choosing an id."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import msgspec
import pytest

from state import keys
from state.snapshots import DEVICES_CODEC
from state.times import DAY_MS
from tests.streams import ITEMS, LATENESS_MS, MINUTE_MS, SHARDS, Flow, arguments, event, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.shards.device_shard import DeviceShard
    from operators.shards.user_shard import UserShard
    from state.events import Event


def seen(*, at_ms: int, device: str | None = None, user: str | None = None) -> Event:
    return view(f"view {at_ms}", at_ms, device, user_id=user)


def order(*, at_ms: int, device: str | None = None, user: str | None = None) -> Event:
    named = f"order {at_ms}"
    return event("purchase", named, at_ms, device, user, items=ITEMS[1:2], order_id=named, value=12)


def identify(*, at_ms: int, device: str, user: str) -> Event:
    return event("identify", f"identify {at_ms}", at_ms, device, user)


def folded(stream: Sequence[Event], batch_events: int = 100, *, restarts: bool = False) -> Flow:
    flow = Flow()
    for start in range(0, len(stream), batch_events):
        flow.feed(stream[start : start + batch_events])
        if restarts:
            flow = flow.resumed()
    return flow


def people(flow: Flow) -> dict[str, tuple[int, int, int]]:
    """Views, orders and sessions of each shopper."""
    shoppers = flow.outcome().shoppers
    return {name: (s.views, s.purchases, s.sessions) for name, s in shoppers.items()}


SAME_ID = [
    seen(at_ms=0, device="abc-1"),
    seen(at_ms=1, device="abc-1"),
    order(at_ms=2, user="abc-1"),
    seen(at_ms=3, device="abc-1"),
]
COOKIE_ID = [
    seen(at_ms=0, device="0190-aa"),
    seen(at_ms=1, device="0190-aa"),
    order(at_ms=2, user="0190-aa"),
    identify(at_ms=3, device="0190-aa", user="ann"),
    order(at_ms=5, user="0190-aa"),
]
"""A server sends the id of the device as that of a user."""
OTHER_DEVICE = [
    seen(at_ms=0, device="phone", user="zoe"),
    seen(at_ms=1, device="zoe"),
    order(at_ms=2, user="zoe"),
    identify(at_ms=3, device="zoe", user="zoe"),
]
"""An app that calls its device as its user is called, and another device of that user."""


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (SAME_ID, {"abc-1": (3, 1, 1)}),
        (COOKIE_ID, {"ann": (2, 2, 1)}),
        (OTHER_DEVICE, {"zoe": (2, 1, 1)}),
    ],
    ids=["same id", "cookie id", "other device"],
)
@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_an_id_is_one_shopper_in_any_order_of_events(
    stream: list[Event], expected: dict[str, tuple[int, int, int]], batch_events: int
) -> None:
    for arrived in permutations(stream):
        flow = folded(arrived, batch_events)
        assert people(flow) == expected, [one.event_id for one in arrived]
        totals = flow.outcome().totals
        assert (totals["shoppers"], totals["identity_conflicts"]) == (1, 0)
        assert totals["sessions_opened"] == sum(sessions for _, _, sessions in expected.values())


@pytest.mark.parametrize("stream", [SAME_ID, COOKIE_ID, OTHER_DEVICE])
def test_the_result_does_not_depend_on_restarts(stream: list[Event]) -> None:
    for arrived in permutations(stream, 4):
        assert people(folded(arrived, 1, restarts=True)) == people(folded(arrived))


def test_the_first_event_of_an_id_decides_whether_it_is_a_user() -> None:
    """By event time, in any order of arrival. Until that is certain, it counts as what it seems."""
    device, user = seen(at_ms=0, device="x"), order(at_ms=1, user="x")
    for arrived in permutations([device, user]):
        assert [s.known for s in folded(arrived).outcome().shoppers.values()] == [False]
    user, device = order(at_ms=0, user="x"), seen(at_ms=1, device="x")
    for arrived in permutations([device, user]):
        assert [s.known for s in folded(arrived).outcome().shoppers.values()] == [True]


@pytest.mark.parametrize("ahead_ms", [0, LATENESS_MS + 1, 2 * LATENESS_MS])
def test_a_user_that_came_first_is_never_merged_into_another(ahead_ms: int) -> None:
    """A device that calls itself like a user gets nothing of that user."""
    stream = [
        order(at_ms=0, user="victim"),
        seen(at_ms=ahead_ms + 1, device="victim"),
        identify(at_ms=ahead_ms + 2, device="victim", user="mallory"),
        seen(at_ms=ahead_ms + 3, device="victim", user="mallory"),
        order(at_ms=ahead_ms + 4, user="victim"),
        seen(at_ms=4 * LATENESS_MS, device="clock"),
        order(at_ms=4 * LATENESS_MS + 1, user="victim"),
    ]
    for batch_events in (1, 3, 100):
        flow = folded(stream, batch_events)
        found = people(flow)
        assert found["victim"][:2] == (1, 3)
        assert found["mallory"][:2] == (1, 0)
        deleted = deletions(flow)
        assert not deleted & {keys.profile_key("victim"), keys.segments_key("victim")}
        assert aliases(flow) == {}
        assert flow.outcome().totals["identity_conflicts"] == 1


def test_a_user_that_another_device_names_is_never_merged_into_another() -> None:
    stream = [
        order(at_ms=0, device="phone", user="victim"),
        seen(at_ms=1, device="victim"),
        identify(at_ms=2, device="victim", user="mallory"),
        seen(at_ms=3, device="victim"),
    ]
    for batch_events in (1, 100):
        flow = folded(stream, batch_events)
        assert people(flow) == {"victim": (2, 1, 1), "mallory": (0, 0, 1)}
        assert keys.profile_key("victim") not in deletions(flow)
        assert aliases(flow) == {"phone": "victim"}


def test_a_user_is_one_shopper_even_if_a_device_had_its_name_before() -> None:
    """As soon as a device names that user. Earlier events cannot be told apart."""
    stream = [
        identify(at_ms=0, device="victim", user="mallory"),
        seen(at_ms=1, device="phone", user="victim"),
        order(at_ms=2, user="victim"),
        seen(at_ms=3, device="victim"),
        event("erase", "e", 4, None, "victim"),
    ]
    for batch_events in (1, 100):
        assert people(folded(stream, batch_events)) == {"mallory": (0, 0, 1)}
        flow = folded(stream[:-1], batch_events)
        assert people(flow) == {"mallory": (0, 0, 1), "victim": (2, 1, 1)}
        assert aliases(flow) == {"phone": "victim"}


def aliases(flow: Flow) -> dict[str, str]:
    """The aliases that Redis would hold, by device."""
    found: dict[str, str] = {}
    for visited in flow.visited:
        for command, key, *rest in map(arguments, visited.writes):
            device = str(key).partition("{")[2].rstrip("}")
            if str(key) == keys.alias_key(device) and command == "SET":
                found[device] = str(rest[0])
            elif str(key) == keys.alias_key(device):
                found.pop(device, None)
    return found


def deletions(flow: Flow) -> set[str]:
    told = [
        arguments(write)
        for visited in flow.visited
        for write in (*visited.removal_writes, *visited.writes)
    ]
    return {str(key) for command, *names in told for key in names if command == "DEL"}


class TestErase:
    """An erasure by device alone removes the device's own shopper and its link, never the user."""

    def test_erasing_a_linked_device_removes_the_link(self) -> None:
        stream = [identify(at_ms=0, device="phone", user="ann"), order(at_ms=1, device="phone")]
        flow = folded([*stream, event("erase", "e", 2, "phone"), seen(at_ms=3, device="phone")])
        assert people(flow) == {"ann": (0, 1, 1), "phone": (1, 0, 1)}
        outcome = flow.outcome()
        assert outcome.links == {}
        assert outcome.totals["erased"] == 1
        assert outcome.read == outcome.totals["accepted"] + outcome.totals["duplicates"]
        assert deletions(flow) >= {keys.alias_key("phone")}
        assert keys.profile_key("ann") not in deletions(flow)

    @pytest.mark.parametrize("first", [None, "phone"])
    @pytest.mark.parametrize("passed_ms", [1, 3 * LATENESS_MS])
    def test_erasing_a_device_that_has_the_name_of_a_user_does_nothing(
        self, first: str | None, passed_ms: int
    ) -> None:
        stream = [
            order(at_ms=0, device=first, user="ann"),
            seen(at_ms=passed_ms, device="clock"),
            event("erase", "e", passed_ms + 1, "ann"),
        ]
        for batch_events in (1, 100):
            flow = folded(stream, batch_events)
            assert people(flow)["ann"][:2] == (0, 1)
            assert keys.profile_key("ann") not in deletions(flow)

    def test_erasing_an_undecided_user_removes_it(self) -> None:
        flow = folded([order(at_ms=0, user="ann"), event("erase", "e", 1, None, "ann")])
        assert people(flow) == {}
        assert flow.outcome().totals["shoppers"] == 0

    def test_erasing_a_device_by_the_name_of_a_user_does_not_erase_its_owner(self) -> None:
        stream = [*COOKIE_ID, event("erase", "e", 6, None, "0190-aa")]
        flow = folded(stream)
        assert people(flow) == {"ann": (2, 2, 1)}
        assert flow.outcome().links == {}


def test_a_decided_user_is_transferred_without_another_event() -> None:
    flow = folded([order(at_ms=0, user="ann")])
    assert [len(shard.shoppers.rows) for shard in flow.users] == [0] * SHARDS
    flow.visited.clear()
    flow.feed([seen(at_ms=2 * LATENESS_MS, device="clock")])
    flow.feed([seen(at_ms=DAY_MS, device="clock")])
    assert sum(len(shard.shoppers.rows) for shard in flow.users) == 1
    assert {one.shopper for visited in flow.visited for one in visited.active} == {"clock"}
    told = {shard: totals for visited in flow.visited for shard, totals in visited.totals.items()}
    assert sum(totals.shoppers for totals in told.values()) == 2, "what is not told stands"
    assert flow.outcome().totals["merges"] == 0
    flow.feed([order(at_ms=DAY_MS + MINUTE_MS, user="ann")])
    assert people(flow)["ann"] == (0, 2, 2)


def test_after_a_state_without_known_users_a_new_user_id_is_a_user_at_once() -> None:
    """Of a release that did not note it: a user it had stored is one, not undecided beside itself."""
    former = folded([order(at_ms=0, user="ann"), seen(at_ms=2 * LATENESS_MS, device="clock")])
    former.feed([seen(at_ms=2 * LATENESS_MS + 1, device="clock")])
    stored = [(as_before(d.snapshot()), u.snapshot()) for d, u in pairs(former)]
    flow = Flow(stored)
    flow.clocks = former.clocks
    flow.feed(
        [order(at_ms=2 * LATENESS_MS + 2, user="ann"), seen(at_ms=4 * LATENESS_MS, device="bo")]
    )
    assert people(flow)["ann"] == (0, 2, 1)
    assert [len(shard.shoppers.rows) for shard in flow.users if shard.shoppers.rows] == [1]
    erased = event("erase", "e", 4 * LATENESS_MS + 1, "ann")
    flow = Flow(stored)
    flow.clocks = former.stored_clocks()
    flow.feed([erased])
    assert people(flow)["ann"] == (0, 1, 1)
    assert keys.profile_key("ann") not in deletions(flow)


def pairs(flow: Flow) -> zip[tuple[DeviceShard, UserShard]]:
    return zip(flow.devices, flow.users, strict=True)


def as_before(snapshot: bytes) -> bytes:
    state = DEVICES_CODEC.decode(snapshot)
    return DEVICES_CODEC.encode(msgspec.structs.replace(state, known={}, undecided_from_ms=None))
