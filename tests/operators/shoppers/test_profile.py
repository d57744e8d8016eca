"""Profiles: what events add to a shopper, and the fields that readers find in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.shoppers import profile, profile_hash
from state import keys
from state.events import Consent, Event, Item
from state.resp import pack_command
from state.shopper import Shopper
from state.times import DAY_MS
from tests.streams import (
    LATENESS_MS,
    MINUTE_MS,
    RULES,
    START_MS,
    arguments,
    event,
    facts,
    fold,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from state.events import EventType

SHOE = Item("shoe", category=("wear", "shoes"), price=50.0)
SOCK = Item("sock", category=("wear", "socks"), price=0.1, quantity=3)


def written(stream: list[Event]) -> dict[str, str]:
    """The profile of the only shopper as its readers see it."""
    ((name, shopper),) = fold(stream).shoppers.items()
    packed, count = profile_hash.profile_command(keys.profile_key(name), shopper, "", 0.0)
    return fields(pack_command(packed, count))


def session(stream: list[Event]) -> dict[str, str]:
    """The newest session of the only shopper as its readers see it."""
    ((name, shopper),) = fold(stream).shoppers.items()
    return fields(
        profile_hash.session_command(name, keys.session_key(name), shopper.open_sessions[-1])
    )


def fields(packed: bytes) -> dict[str, str]:
    """Of a HASH that a command writes."""
    _, _, *pairs = arguments(packed)
    return dict(zip(map(str, pairs[::2]), map(str, pairs[1::2]), strict=True))


def day(kind: EventType, number: int, days: float, *items: Item, **more: Any) -> Event:
    return event(kind, number, round(days * DAY_MS), items=items, **more)


def test_a_whole_profile() -> None:
    stream = [
        day("item_view", 1, 0, SHOE),
        day("item_view", 2, 0.01, SOCK),
        day("cart_add", 3, 0.01, SOCK),
        day("purchase", 4, 0.02, SOCK, order_id="a", value=0.28, currency="EUR"),
        day("purchase", 5, 1, SHOE, SOCK, order_id="b", currency="EUR"),
        day("refund", 6, 3, SHOE, order_id="b"),
        day("item_view", 7, 4, SHOE),
    ]
    assert written(stream) == {
        "known": "0",
        "first_ms": str(START_MS),
        "last_ms": str(START_MS + 4 * DAY_MS),
        "events": "7",
        "sessions": "4",
        "session_s_mean": "432.0",  # 0.02 days once, 0 three times
        "depth": "1.75",
        "views": "3",
        "carts": "1",
        "cart_rate": "0.3333",
        "purchases": "2",
        "revenue": "50.58",
        "price_level": "33.37",
        "units": "7",
        "aov": "25.29",
        "recency_days": "3.000",
        "last_purchase_ms": str(START_MS + DAY_MS),
        "currency": "EUR",
        "refunds": "1",
        "refunded": "50.00",
        "intent": "considering",
    }


def test_a_whole_session() -> None:
    stream = [
        event("item_view", 1, 0, items=(SHOE,)),
        event("cart_add", 2, MINUTE_MS, items=(SHOE, SOCK)),
        event("cart_remove", 3, 2 * MINUTE_MS, items=(SOCK,)),
    ]
    assert session(stream) == {
        "id": f"ann:{START_MS}",
        "start_ms": str(START_MS),
        "last_ms": str(START_MS + 2 * MINUTE_MS),
        "events": "3",
        "views": "1",
        "carts": "1",
        "purchases": "0",
        "cart_value": "50.00",
        "intent": "cart",
    }
    bought = event("purchase", 4, 3 * MINUTE_MS, items=(SHOE,), order_id="a")
    assert session([*stream, bought])["cart_value"] == "0.00"


@pytest.mark.parametrize(
    ("kind", "intent"),
    [
        ("page_view", "browsing"),
        ("item_view", "considering"),
        ("cart_add", "cart"),
        ("checkout_start", "checkout"),
        ("purchase", "bought"),
    ],
)
def test_the_intent_of_a_session_only_rises(kind: EventType, intent: str) -> None:
    stream = [event(kind, 1, 0, items=(SHOE,), order_id="a"), event("page_view", 2, 1)]
    assert session(stream)["intent"] == written(stream)["intent"] == intent


def test_money_adds_up_to_the_cent_however_often_it_is_added() -> None:
    dimes = [
        event("purchase", n, n, items=(Item("x", price=0.1),), order_id=str(n)) for n in range(1000)
    ]
    assert written(dimes)["revenue"] == "100.00"


def test_an_order_without_a_value_has_the_value_of_its_items() -> None:
    order = event("purchase", 1, 0, items=(SHOE, SOCK, Item("gift")), order_id="a")
    assert written([order])["revenue"] == "50.30"


def test_the_newest_consent_holds_and_of_two_at_once_the_stricter() -> None:
    def said(number: int, at_ms: int, *answers: bool | None) -> Event:
        return event("consent", number, at_ms, consent=Consent(*answers))

    early, late = said(1, 0, True, True, None), said(2, 9, True, False, None)
    at_once = said(3, 9, True, None, True)
    for stream in ([early, late, at_once], [at_once, late, early], [late, early, at_once]):
        assert written(stream)["consent"] == "analytics=1,personalization=0,ads=1"
    assert "consent" not in written([view(1, 0)])


def test_any_event_may_carry_consent() -> None:
    told = written([view(1, 0, consent=Consent(analytics=True, ads=False))])
    assert told["consent"] == "analytics=1,personalization=?,ads=0"


@given(streams(users=0), st.integers(0, 9))
def test_a_profile_does_not_depend_on_the_order_of_events(stream: list[Event], seed: int) -> None:
    arrived = shuffled_within(stream, LATENESS_MS, seed)
    assert facts(fold(arrived)) == facts(fold(stream))


@given(streams(users=0, devices=1), st.integers(0, 40))
def test_two_halves_of_a_shopper_merge_into_the_whole(stream: list[Event], cut: int) -> None:
    """One half is the device's row, the other the user's: all fields are compared but sessions."""
    whole = fold([*stream])
    left = [one for n, one in enumerate(stream) if n % 41 < cut]
    right = [one for n, one in enumerate(stream) if n % 41 >= cut]
    if not left or not right:
        return
    (merged,), (other,) = fold(left).shoppers.values(), fold(right).shoppers.values()

    profile.merge(merged, other, RULES.affinities)
    (expected,) = whole.shoppers.values()
    apart = {
        "sessions",
        "session_ms",
        "session_events",
        "open_sessions",
        "recent_event_hashes",
        "recent_event_details",
        "orders",
    }
    for name in set(Shopper.__struct_fields__) - apart:
        assert getattr(merged, name) == getattr(expected, name), name


def test_first_and_last_times_only_move_outwards() -> None:
    outcomes = [fold([view(n, at) for n, at in enumerate(times)]) for times in ([5, 9, 1], [1, 5])]
    spans = [
        (s.first_ms - START_MS, s.last_ms - START_MS) for o in outcomes for s in o.shoppers.values()
    ]
    assert spans == [(1, 9), (1, 5)]
