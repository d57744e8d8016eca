"""Consent, through the real flow into a real Redis: nothing serves a purpose that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from operators.events.decode import decode_lines
from state import keys
from state.config import Privacy, UnknownConsent, UnknownConsentInCountry
from state.events import Event, Item
from tests.operators.shards.consent import NO, NO_ADS, NOT_PERSONAL, YES, Shop, consent_event, view
from tests.shared import shared_case
from tests.streams import START_MS, event

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(redis_url: str, tmp_path: Path) -> Shop:
    return Shop(redis_url, tmp_path)


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_refusal_before_the_first_view_leaves_nothing(shop: Shop, batch_events: int) -> None:
    item_views = [view(n, n, f"x{n % 2}", "no1") for n in range(1, 5)]
    shop.run([consent_event(0, 0, NO, "no1"), *item_views], batch_events=batch_events)
    assert shop.counts() == (5, 0, {"analytics": 5})
    assert shop.keys_naming("no1") == set()
    assert shop.known_items() == set()
    assert shop.figures["shoppers"] == b"0"


@pytest.mark.parametrize("batch_events", [1, 3, 100])
def test_without_personalization_a_shopper_counts_in_totals_only(
    shop: Shop, batch_events: int
) -> None:
    events = [
        consent_event(0, 0, NOT_PERSONAL, "half"),
        view(1, 1, "y1", "half"),
        view(2, 2, "y2", "half"),
    ]
    bought = event("purchase", "e3", 3, "half", items=(Item("y1", price=10.0),), order_id="1")
    shop.run([*events, bought], batch_events=batch_events)
    assert shop.counts() == (4, 4, {})
    profile = shop.profile("half")
    assert {name: profile[name] for name in ("views", "purchases", "revenue", "refused")} == {
        "views": "2",
        "purchases": "1",
        "revenue": "10.00",
        "refused": "personalization",
    }
    assert not {name for name in profile if name.startswith(("cluster", "p_", "value_"))}
    assert not {sid for sid in shop.segments("half") if sid.startswith(("cluster", "propensity"))}
    assert shop.segments("half")
    assert shop.known_items() == set()
    assert keys.top_key("half", keys.SLOT) not in shop.stored


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_later_refusal_removes_what_was_published(shop: Shop, batch_events: int) -> None:
    before = [view(n, n, f"x{n % 3}", "ann") for n in range(6)]
    after = [view(n, n, f"x{n % 3}", "ann") for n in range(20, 23)]
    shop.run([*before, consent_event(9, 9, NO), *after], batch_events=batch_events)
    assert shop.counts() == (10, 6, {"analytics": 4})
    assert shop.keys_naming("ann") == set()
    shop.run([*before, consent_event(9, 9, NOT_PERSONAL), *after], batch_events=batch_events)
    assert shop.counts() == (10, 10, {})
    assert shop.profile("ann")["views"] == "9"
    assert keys.top_key("ann", keys.SLOT) not in shop.stored
    assert not {name for name in shop.profile("ann") if name.startswith(("cluster", "p_"))}


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_shopper_that_agrees_again_starts_with_an_empty_profile(
    shop: Shop, batch_events: int
) -> None:
    events = [
        view(1, 1, "x1"),
        consent_event(2, 2, NO),
        view(3, 3, "x2"),
        consent_event(4, 4, YES),
        view(5, 5, "x3"),
    ]
    late = view(6, 1, "x4")  # from before the refusal
    shop.run([*events, late], batch_events=batch_events)
    assert shop.counts() == (6, 3, {"analytics": 3})
    profile = shop.profile("ann")
    assert (profile["views"], profile["events"]) == ("1", "2")
    assert profile["first_ms"] == str(START_MS + 4)
    assert "refused" not in profile
    assert "x3" in shop.known_items()


@pytest.mark.parametrize("batch_events", [1, 2, 100])
@pytest.mark.parametrize("refuses_on", ["d1", "d2", None])
def test_a_refusal_holds_on_all_devices_of_a_user(
    shop: Shop, refuses_on: str | None, batch_events: int
) -> None:
    events = [
        view(1, 1, "x1", "d1"),
        event("identify", "e2", 2, "d1", "u1"),
        view(3, 3, "x2", "d2"),
        event("identify", "e4", 4, "d2", "u1"),
        consent_event(5, 5, NO, refuses_on, user_id=None if refuses_on else "u1"),
        view(6, 6, "x1", "d1"),
        view(7, 7, "x2", "d2"),
        view(8, 8, "x2", None, user_id="u1"),
    ]
    shop.run(events, batch_events=batch_events)
    assert shop.counts() == (8, 4, {"analytics": 4})
    assert shop.keys_naming("u1") | shop.keys_naming("d1") | shop.keys_naming("d2") == set()


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_refusal_of_a_device_holds_for_its_user(shop: Shop, batch_events: int) -> None:
    known = [view(1, 1, "x1", "d0", user_id="u1"), view(2, 2, "x2", "d0", user_id="u1")]
    refused = [consent_event(3, 3, NO, "d1"), view(4, 4, "x1", "d1")]
    shop.run([*known, *refused, view(5, 5, "x1", "d1", user_id="u1")], batch_events=batch_events)
    assert shop.counts() == (5, 2, {"analytics": 3})
    assert shop.keys_naming("u1") | shop.keys_naming("d0") | shop.keys_naming("d1") == set()
    # The user has agreed since: the newer statement counts.
    newer = consent_event(6, 6, YES, None, user_id="u1")
    shop.run([*known, *refused, newer, view(7, 7, "x1", "d1", user_id="u1")])
    assert shop.profile("u1")["views"] == "3"
    assert shop.counts() == (6, 4, {"analytics": 2})


def test_a_refusal_of_a_user_holds_for_a_new_device(shop: Shop) -> None:
    for batch_events in (1, 2, 100):
        events = [
            consent_event(1, 1, NO, None, user_id="u1"),
            view(2, 2, "x1", "d1"),
            view(3, 3, "x2", "d1"),
            event("identify", "e4", 4, "d1", "u1"),
            view(5, 5, "x2", "d1"),
        ]
        shop.run(events, batch_events=batch_events)
        assert shop.counts() == (5, 2, {"analytics": 3})
        assert shop.keys_naming("u1") | shop.keys_naming("d1") == set()


def test_any_event_may_carry_consent_and_an_older_statement_changes_nothing(shop: Shop) -> None:
    refusing = view(1, 5, "x1", consent=NO)
    shop.run([view(0, 1, "x1"), refusing, view(2, 6, "x2")])
    assert shop.counts() == (3, 1, {"analytics": 2})
    assert shop.keys_naming("ann") == set()
    shop.run([view(0, 9, "x1", consent=YES), view(1, 5, "x1", consent=NO), view(2, 10, "x2")])
    assert shop.counts() == (3, 2, {"analytics": 1})
    assert shop.profile("ann")["consent"] == "analytics=1,personalization=1,ads=1"
    both = [view(1, 5, "x1", consent=YES), view(2, 5, "x1", consent=NO)]
    for at_once in (both, both[::-1]):
        shop.run(at_once)
        assert shop.keys_naming("ann") == set()


def test_a_visitor_that_was_not_asked_counts_by_the_policy(shop: Shop) -> None:
    denied = Privacy(unknown=UnknownConsent(analytics="deny", personalization="deny", ads="deny"))
    events = [view(1, 1, "x1"), consent_event(2, 2, YES), view(3, 3, "x1"), view(4, 4, "x1", "bob")]
    shop.run(events, privacy=denied)
    assert shop.counts() == (4, 2, {"analytics": 2})
    assert shop.profile("ann")["views"] == "1"
    assert shop.keys_naming("bob") == set()
    there = Privacy(by_country={"DE": UnknownConsentInCountry(analytics="deny")})
    events = [view(1, 1, "x1", country="de"), view(2, 2, "x1", "bob", country="FR")]
    shop.run([*events, view(3, 3, "x1", "eve")], privacy=there)
    assert shop.counts() == (3, 2, {"analytics": 1})
    assert shop.keys_naming("ann") == set()
    assert (shop.profile("bob")["views"], shop.profile("eve")["views"]) == ("1", "1")


def test_an_erasure_removes_the_refusal_too(shop: Shop) -> None:
    events = [consent_event(1, 1, NO), view(2, 2, "x1"), event("erase", "e3", 3), view(4, 4, "x1")]
    shop.run(events)
    assert shop.counts() == (4, 2, {"analytics": 2})
    assert shop.profile("ann")["events"] == "1"


def test_a_shopper_that_refuses_ads_gets_no_trigger(shop: Shop) -> None:
    def item(number: int, at_ms: int, price: float) -> Event:
        return event("item", f"i{number}", at_ms, None, items=(Item("mug", price=price),))

    def change_shoppers(kind: str) -> list[str]:
        streams = [shop.stored.get(keys.change_stream_key(n), []) for n in range(8)]
        entries = [dict(entry[1]) for one in streams for entry in one]
        return [one[b"shopper"].decode() for one in entries if one[b"kind"].decode() == kind]

    item_views = [view(n, n, "mug", who) for n, who in enumerate(("ann", "bob", "eve"), start=1)]
    no = [consent_event(4, 4, NO_ADS, "bob"), consent_event(5, 5, NOT_PERSONAL, "eve")]
    for batch_events in (1, 3, 100):
        shop.run([item(1, 0, 10.0), *item_views, *no, item(2, 9, 5.0)], batch_events=batch_events)
        assert change_shoppers("trigger") == ["ann"]
        shop.run([item(1, 0, 10.0), *no, *item_views, item(2, 9, 5.0)], batch_events=batch_events)
        assert change_shoppers("trigger") == ["ann"]


def test_the_shared_case_of_consent(shop: Shop) -> None:
    with shared_case("consent-refused").open("rb") as lines:
        events = [
            one
            for one in decode_lines(
                lines, source="case", partition="0", first_offset=0, now_ms=1_900_000_000_000
            )
            if isinstance(one, Event)
        ]
    shop.run(events)
    assert shop.counts() == (9, 5, {"analytics": 4})
    assert shop.keys_naming("no1") == set()
    assert shop.known_items() == {"z1", "z2"}
    assert shop.profile("half")["views"] == "2"
    assert shop.profile("yes")["views"] == "2"
    assert keys.top_key("yes", keys.SLOT) in shop.stored
    assert keys.top_key("half", keys.SLOT) not in shop.stored


@pytest.mark.parametrize("batch_events", [1, 100])
def test_an_id_that_is_device_and_user_has_no_alias_after_agreeing_again(
    shop: Shop, batch_events: int
) -> None:
    both = {"who": "ann", "user_id": "ann"}
    events = [
        view(1, 0, "mug", **both),
        consent_event(2, 1000, NO, **both),
        consent_event(3, 2000, YES, **both),
        view(4, 3000, "pen", **both),
    ]
    shop.run(events, batch_events=batch_events)
    assert shop.profile("ann")["views"] == "1"
    assert [key for key in shop.stored if key.startswith("ps:1:alias:")] == []
