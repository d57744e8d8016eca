"""Consent against a naive model: persons instead of ids, one event at a time, all figures recounted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from state import keys
from state.config import Privacy, UnknownConsent, UnknownConsentInCountry
from state.events import Consent, Event
from tests.operators.shards.consent import Shop, view

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.fixture
def shop(redis_url: str, tmp_path: Path) -> Shop:
    return Shop(redis_url, tmp_path)


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
        id_kind = draw(st.sampled_from(["device", "both", "user"])) if user else "device"
        consent = draw(CONSENTS)
        events.append(
            view(
                number,
                at_ms,
                f"x{number % 3}",
                None if id_kind == "user" else device,
                user_id=None if id_kind == "device" else user,
                consent=consent,
                country=draw(st.sampled_from([None, "DE"])),
            )
        )
    return events


class Person:
    def __init__(self) -> None:
        self.statement: tuple[int, bool | None, bool | None, bool | None] = (0, None, None, None)
        self.refused_ms = 0
        self.views = 0
        self.may_have_list = False

    def observe(self, one: Event) -> None:
        if one.consent is None:
            return
        new = (one.event_ts, *msgspec.structs.astuple(one.consent))
        if new[0] > self.statement[0]:
            self.statement = new
        elif new[0] == self.statement[0]:
            self.statement = merge_statements(self.statement, new)
        if one.consent.analytics is False:
            self.refused_ms = max(self.refused_ms, one.event_ts)

    def allows(self, purpose: int, unasked: str) -> bool:
        answer = self.statement[1 + purpose]
        return unasked == "allow" if answer is None else bool(answer)


def merge_statements(one: Any, other: Any) -> Any:
    return one[0], *(stricter(*two) for two in zip(one[1:], other[1:], strict=True))


def stricter(one: bool | None, other: bool | None) -> bool | None:
    answers = {one, other} - {None}
    return None if not answers else False not in answers


def recount(events: Iterable[Event], privacy: Privacy) -> tuple[dict[str, tuple[int, bool]], int]:
    """Views of each remaining shopper and whether it may have a list; the number of withheld events."""
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
                if was.statement[0] > now.statement[0]:
                    now.statement = was.statement
                elif was.statement[0] == now.statement[0]:
                    now.statement = merge_statements(was.statement, now.statement)
                now.refused_ms = max(was.refused_ms, now.refused_ms)
                now.views += was.views
        name = user or links.get(device or "", device or "")
        person = persons.setdefault(name, Person())
        person.observe(one)
        if not person.allows(0, analytics):
            person.views = 0
            withheld += 1
        elif one.event_ts <= person.refused_ms:
            withheld += 1
        else:
            person.views += 1
        person.may_have_list = person.allows(1, personalization)
    remaining = {name: (one.views, one.may_have_list) for name, one in persons.items() if one.views}
    return remaining, withheld


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
    remaining, withheld = recount(events, privacy)
    shop.run(events, batch_events=batch_events, privacy=privacy)
    views = {
        who: int(shop.profile(who)["views"])
        for who in (*DEVICES, "u1", "u2")
        if keys.profile_key(who) in shop.stored
    }
    assert views == {who: count for who, (count, _) in remaining.items()}
    assert sum(shop.counts()[2].values()) == withheld
    for who in (*DEVICES, "u1", "u2"):
        if who not in remaining:
            aliases = {
                keys.alias_key(device) for device, user in DEVICES.items() if user in remaining
            }
            assert shop.keys_naming(who) <= aliases
        elif not remaining[who][1]:
            assert keys.top_key(who, keys.SLOT) not in shop.stored
            assert not {sid for sid in shop.segments(who) if sid.startswith(("clust", "prop"))}
