"""Consent, through the real flow into a real Redis: nothing serves a purpose that is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from operators.events.decode import decode_lines
from state import keys
from state.config import Privacy, UnknownConsent, UnknownConsentInCountry
from state.events import Consent, Event, Item
from state.store import Store
from tests.shared import shared_case
from tests.streams import START_MS, event, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

YES = Consent(analytics=True, personalization=True, ads=True)
NO = Consent(analytics=False, personalization=False, ads=False)
NOT_PERSONAL = Consent(analytics=True, personalization=False, ads=True)
NO_ADS = Consent(analytics=True, personalization=True, ads=False)


def look(number: int, at_ms: int, item: str, who: str | None = "ann", **more: Any) -> Event:
    items = (Item(item, category=("toys",), price=10.0),)
    return event("item_view", f"e{number}", at_ms, who, items=items, **more)


def said(number: int, at_ms: int, consent: Consent, who: str | None = "ann", **more: Any) -> Event:
    return event("consent", f"e{number}", at_ms, who, consent=consent, **more)


class Shop:
    """Runs events through the flow; `left` is all that Redis holds then."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._url, self._folder = redis_url, folder
        self.left: dict[str, Any] = {}

    def run(
        self, events: Sequence[Event], *, batch_events: int = 100, privacy: Privacy | None = None
    ) -> dict[str, Any]:
        store = Store(self._url, timeout_ms=2000, patience_s=2)
        store.client.flushall()
        store.close()
        settings = flow_settings(batch_events=batch_events)
        if privacy is not None:
            settings = msgspec.structs.replace(settings, privacy=privacy)
        self.left = run_flow(events, self._url, self._folder, settings=settings)
        return self.left

    @property
    def figures(self) -> dict[str, Any]:
        return {name.decode(): value for name, value in self.left[keys.meta_key()]}

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Events, of them accepted, withheld; they add up."""
        told = self.figures
        events, accepted, twice = (int(told[name]) for name in ("events", "accepted", "duplicates"))
        withheld = orjson.loads(told["withheld"])
        rejected = sum(orjson.loads(told["rejected"]).values())
        assert events == accepted + twice + rejected + sum(withheld.values())
        quality = {name.decode(): value for name, value in self.left[keys.quality_key()]}
        assert {
            name.partition(".")[2]: int(value)
            for name, value in quality.items()
            if name.startswith("withheld.")
        } == withheld
        return events, accepted, withheld

    def profile(self, who: str) -> dict[str, str]:
        fields = self.left.get(keys.profile_key(who), [])
        return {name.decode(): value.decode() for name, value in fields}

    def segments(self, who: str) -> set[str]:
        return {name.decode() for name, _ in self.left.get(keys.segments_key(who), [])}

    def naming(self, who: str) -> set[str]:
        """The keys that name somebody, but for the streams, which are history."""
        found = {key for key in self.left if f"{{{who}}}" in key}
        told = repr(who.encode())[1:-1]
        streams = (keys.recent_key(), *(keys.change_stream_key(n) for n in range(8)))
        return found | {
            key for key, value in self.left.items() if key not in streams and told in repr(value)
        }

    def items_known(self) -> set[str]:
        """The items that lists hold or are of."""
        listed = [
            item
            for key, value in self.left.items()
            if key.endswith(("}:similar", "}:bought", "}:24h", "}:home"))
            for item, *_ in orjson.loads(value)["items"]
        ]
        of = [k.split("{")[1].split("}")[0] for k in self.left if k.startswith("ps:1:item:")]
        return {*listed, *of}


@pytest.fixture
def shop(redis_url: str, tmp_path: Path) -> Shop:
    return Shop(redis_url, tmp_path)


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_refusal_before_the_first_view_leaves_nothing(shop: Shop, batch_events: int) -> None:
    looks = [look(n, n, f"x{n % 2}", "no1") for n in range(1, 5)]
    shop.run([said(0, 0, NO, "no1"), *looks], batch_events=batch_events)
    assert shop.counts() == (5, 0, {"analytics": 5})
    assert shop.naming("no1") == set()
    assert shop.items_known() == set()
    assert shop.figures["shoppers"] == b"0"


@pytest.mark.parametrize("batch_events", [1, 3, 100])
def test_without_personalization_a_shopper_counts_in_totals_only(
    shop: Shop, batch_events: int
) -> None:
    events = [said(0, 0, NOT_PERSONAL, "half"), look(1, 1, "y1", "half"), look(2, 2, "y2", "half")]
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
    assert shop.items_known() == set()
    assert keys.top_key("half", keys.SLOT) not in shop.left


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_later_refusal_removes_what_was_published(shop: Shop, batch_events: int) -> None:
    before = [look(n, n, f"x{n % 3}", "ann") for n in range(6)]
    after = [look(n, n, f"x{n % 3}", "ann") for n in range(20, 23)]
    shop.run([*before, said(9, 9, NO), *after], batch_events=batch_events)
    assert shop.counts() == (10, 6, {"analytics": 4})
    assert shop.naming("ann") == set()
    shop.run([*before, said(9, 9, NOT_PERSONAL), *after], batch_events=batch_events)
    assert shop.counts() == (10, 10, {})
    assert shop.profile("ann")["views"] == "9"
    assert keys.top_key("ann", keys.SLOT) not in shop.left
    assert not {name for name in shop.profile("ann") if name.startswith(("cluster", "p_"))}


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_shopper_that_agrees_again_begins_anew(shop: Shop, batch_events: int) -> None:
    events = [look(1, 1, "x1"), said(2, 2, NO), look(3, 3, "x2"), said(4, 4, YES), look(5, 5, "x3")]
    late = look(6, 1, "x4")  # from before the refusal
    shop.run([*events, late], batch_events=batch_events)
    assert shop.counts() == (6, 3, {"analytics": 3})
    profile = shop.profile("ann")
    assert (profile["views"], profile["events"]) == ("1", "2")
    assert profile["first_ms"] == str(START_MS + 4)
    assert "refused" not in profile
    assert "x3" in shop.items_known()


@pytest.mark.parametrize("batch_events", [1, 2, 100])
@pytest.mark.parametrize("refuses_on", ["d1", "d2", None])
def test_a_refusal_holds_on_all_devices_of_a_user(
    shop: Shop, refuses_on: str | None, batch_events: int
) -> None:
    events = [
        look(1, 1, "x1", "d1"),
        event("identify", "e2", 2, "d1", "u1"),
        look(3, 3, "x2", "d2"),
        event("identify", "e4", 4, "d2", "u1"),
        said(5, 5, NO, refuses_on, user_id=None if refuses_on else "u1"),
        look(6, 6, "x1", "d1"),
        look(7, 7, "x2", "d2"),
        look(8, 8, "x2", None, user_id="u1"),
    ]
    shop.run(events, batch_events=batch_events)
    assert shop.counts() == (8, 4, {"analytics": 4})
    assert shop.naming("u1") | shop.naming("d1") | shop.naming("d2") == set()


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_refusal_of_a_device_holds_for_its_user(shop: Shop, batch_events: int) -> None:
    known = [look(1, 1, "x1", "d0", user_id="u1"), look(2, 2, "x2", "d0", user_id="u1")]
    refused = [said(3, 3, NO, "d1"), look(4, 4, "x1", "d1")]
    shop.run([*known, *refused, look(5, 5, "x1", "d1", user_id="u1")], batch_events=batch_events)
    assert shop.counts() == (5, 2, {"analytics": 3})
    assert shop.naming("u1") | shop.naming("d0") | shop.naming("d1") == set()
    # Agreed to by the user since: that is newer, and holds.
    newer = said(6, 6, YES, None, user_id="u1")
    shop.run([*known, *refused, newer, look(7, 7, "x1", "d1", user_id="u1")])
    assert shop.profile("u1")["views"] == "3"
    assert shop.counts() == (6, 4, {"analytics": 2})


def test_a_refusal_of_a_user_holds_for_a_new_device(shop: Shop) -> None:
    for batch_events in (1, 2, 100):
        events = [
            said(1, 1, NO, None, user_id="u1"),
            look(2, 2, "x1", "d1"),
            look(3, 3, "x2", "d1"),
            event("identify", "e4", 4, "d1", "u1"),
            look(5, 5, "x2", "d1"),
        ]
        shop.run(events, batch_events=batch_events)
        assert shop.counts() == (5, 2, {"analytics": 3})
        assert shop.naming("u1") | shop.naming("d1") == set()


def test_any_event_may_carry_consent_and_an_older_statement_changes_nothing(shop: Shop) -> None:
    refusing = look(1, 5, "x1", consent=NO)
    shop.run([look(0, 1, "x1"), refusing, look(2, 6, "x2")])
    assert shop.counts() == (3, 1, {"analytics": 2})
    assert shop.naming("ann") == set()
    shop.run([look(0, 9, "x1", consent=YES), look(1, 5, "x1", consent=NO), look(2, 10, "x2")])
    assert shop.counts() == (3, 2, {"analytics": 1})
    assert shop.profile("ann")["consent"] == "analytics=1,personalization=1,ads=1"
    both = [look(1, 5, "x1", consent=YES), look(2, 5, "x1", consent=NO)]
    for at_once in (both, both[::-1]):
        shop.run(at_once)
        assert shop.naming("ann") == set()


def test_a_visitor_that_was_not_asked_counts_by_the_policy(shop: Shop) -> None:
    denied = Privacy(unknown=UnknownConsent(analytics="deny", personalization="deny", ads="deny"))
    events = [look(1, 1, "x1"), said(2, 2, YES), look(3, 3, "x1"), look(4, 4, "x1", "bob")]
    shop.run(events, privacy=denied)
    assert shop.counts() == (4, 2, {"analytics": 2})
    assert shop.profile("ann")["views"] == "1"
    assert shop.naming("bob") == set()
    there = Privacy(by_country={"DE": UnknownConsentInCountry(analytics="deny")})
    events = [look(1, 1, "x1", country="de"), look(2, 2, "x1", "bob", country="FR")]
    shop.run([*events, look(3, 3, "x1", "eve")], privacy=there)
    assert shop.counts() == (3, 2, {"analytics": 1})
    assert shop.naming("ann") == set()
    assert (shop.profile("bob")["views"], shop.profile("eve")["views"]) == ("1", "1")


def test_an_erasure_removes_the_refusal_too(shop: Shop) -> None:
    events = [said(1, 1, NO), look(2, 2, "x1"), event("erase", "e3", 3), look(4, 4, "x1")]
    shop.run(events)
    assert shop.counts() == (4, 2, {"analytics": 2})
    assert shop.profile("ann")["events"] == "1"


def test_a_shopper_that_refuses_ads_gets_no_trigger(shop: Shop) -> None:
    def item(number: int, at_ms: int, price: float) -> Event:
        return event("item", f"i{number}", at_ms, None, items=(Item("mug", price=price),))

    def told(kind: str) -> list[str]:
        streams = [shop.left.get(keys.change_stream_key(n), []) for n in range(8)]
        entries = [dict(entry[1]) for one in streams for entry in one]
        return [one[b"shopper"].decode() for one in entries if one[b"kind"].decode() == kind]

    looks = [look(n, n, "mug", who) for n, who in enumerate(("ann", "bob", "eve"), start=1)]
    no = [said(4, 4, NO_ADS, "bob"), said(5, 5, NOT_PERSONAL, "eve")]
    for batch_events in (1, 3, 100):
        shop.run([item(1, 0, 10.0), *looks, *no, item(2, 9, 5.0)], batch_events=batch_events)
        assert told("trigger") == ["ann"]
        shop.run([item(1, 0, 10.0), *no, *looks, item(2, 9, 5.0)], batch_events=batch_events)
        assert told("trigger") == ["ann"]


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
    assert shop.naming("no1") == set()
    assert shop.items_known() == {"z1", "z2"}
    assert shop.profile("half")["views"] == "2"
    assert shop.profile("yes")["views"] == "2"
    assert keys.top_key("yes", keys.SLOT) in shop.left
    assert keys.top_key("half", keys.SLOT) not in shop.left


# Against a naive model: persons instead of ids, one event at a time, every figure from the beginning.

ANSWERS = st.sampled_from([True, False, None])
CONSENTS = st.none() | st.none() | st.builds(Consent, ANSWERS, ANSWERS, ANSWERS)
DEVICES = {"d1": "u1", "d2": "u1", "d3": "u2", "d4": None}


@st.composite
def streams_with_consent(draw: st.DrawFn) -> list[Event]:
    events = []
    at_ms = 0
    for number in range(draw(st.integers(1, 14))):
        at_ms += draw(st.integers(0, 2))
        device = draw(st.sampled_from(sorted(DEVICES)))
        user = DEVICES[device]
        who = draw(st.sampled_from(["device", "both", "user"])) if user else "device"
        consent = draw(CONSENTS)
        events.append(
            look(
                number,
                at_ms,
                f"x{number % 3}",
                None if who == "user" else device,
                user_id=None if who == "device" else user,
                consent=consent,
                country=draw(st.sampled_from([None, "DE"])),
            )
        )
    return events


class Person:
    def __init__(self) -> None:
        self.said: tuple[int, bool | None, bool | None, bool | None] = (0, None, None, None)
        self.refused_ms = 0
        self.views = 0
        self.may_have_list = False

    def hear(self, one: Event) -> None:
        if one.consent is None:
            return
        new = (one.event_ts, *msgspec.structs.astuple(one.consent))
        if new[0] > self.said[0]:
            self.said = new
        elif new[0] == self.said[0]:
            self.said = tied(self.said, new)
        if one.consent.analytics is False:
            self.refused_ms = max(self.refused_ms, one.event_ts)

    def may(self, purpose: int, unasked: str) -> bool:
        answer = self.said[1 + purpose]
        return unasked == "allow" if answer is None else bool(answer)


def tied(one: Any, other: Any) -> Any:
    return one[0], *(stricter(*two) for two in zip(one[1:], other[1:], strict=True))


def stricter(one: bool | None, other: bool | None) -> bool | None:
    answers = {one, other} - {None}
    return None if not answers else False not in answers


def naive(events: Iterable[Event], privacy: Privacy) -> tuple[dict[str, tuple[int, bool]], int]:
    """The views of each shopper that is left, and whether it may have a list; the withheld events."""
    persons: dict[str, Person] = {}
    links: dict[str, str] = {}
    withheld = 0
    for one in events:
        device, user = one.anonymous_id, one.user_id
        there = privacy.by_country.get("DE") if one.country == "DE" else None
        analytics = (there and there.analytics) or privacy.unknown.analytics
        personalization = (there and there.personalization) or privacy.unknown.personalization
        if device and user and device not in links:
            links[device] = user
            if device in persons:
                was, now = persons.pop(device), persons.setdefault(user, Person())
                if was.said[0] > now.said[0]:
                    now.said = was.said
                elif was.said[0] == now.said[0]:
                    now.said = tied(was.said, now.said)
                now.refused_ms = max(was.refused_ms, now.refused_ms)
                now.views += was.views
        name = user or links.get(device or "", device or "")
        person = persons.setdefault(name, Person())
        person.hear(one)
        if not person.may(0, analytics):
            person.views = 0
            withheld += 1
        elif one.event_ts <= person.refused_ms:
            withheld += 1
        else:
            person.views += 1
        person.may_have_list = person.may(1, personalization)
    left = {name: (one.views, one.may_have_list) for name, one in persons.items() if one.views}
    return left, withheld


PRIVACY = st.sampled_from(
    [
        Privacy(),
        Privacy(unknown=UnknownConsent(analytics="deny")),
        Privacy(
            unknown=UnknownConsent(personalization="deny"),
            by_country={"DE": UnknownConsentInCountry(ads="deny")},
        ),
        Privacy(
            by_country={"DE": UnknownConsentInCountry(analytics="deny", personalization="deny")}
        ),
    ]
)


@given_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(streams_with_consent(), PRIVACY, st.sampled_from([1, 2, 5, 100]))
def test_shoppers_are_those_of_a_naive_recount(
    shop: Shop, events: list[Event], privacy: Privacy, batch_events: int
) -> None:
    left, withheld = naive(events, privacy)
    shop.run(events, batch_events=batch_events, privacy=privacy)
    views = {
        who: int(shop.profile(who)["views"])
        for who in (*DEVICES, "u1", "u2")
        if keys.profile_key(who) in shop.left
    }
    assert views == {who: count for who, (count, _) in left.items()}
    assert sum(shop.counts()[2].values()) == withheld
    for who in (*DEVICES, "u1", "u2"):
        if who not in left:
            aliases = {keys.alias_key(device) for device, user in DEVICES.items() if user in left}
            assert shop.naming(who) <= aliases
        elif not left[who][1]:
            assert keys.top_key(who, keys.SLOT) not in shop.left
            assert not {sid for sid in shop.segments(who) if sid.startswith(("clust", "prop"))}


@pytest.mark.parametrize("batch_events", [1, 100])
def test_an_id_that_is_device_and_user_has_no_alias_after_agreeing_again(
    shop: Shop, batch_events: int
) -> None:
    both = {"who": "ann", "user_id": "ann"}
    events = [
        look(1, 0, "mug", **both),
        said(2, 1000, NO, **both),
        said(3, 2000, YES, **both),
        look(4, 3000, "pen", **both),
    ]
    shop.run(events, batch_events=batch_events)
    assert shop.profile("ann")["views"] == "1"
    assert [key for key in shop.left if key.startswith("ps:1:alias:")] == []
