"""Rules against the naive model of `naive_rules`: the same transitions, to the ms.

On random streams, and on the events of real shops.
"""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from flows.sources.files import LogFile
from operators.readers.registry import READERS
from operators.segments.rules.compiler import RuleSet
from operators.shards.config import ProcessorConfig
from operators.shards.identity_map import device_key
from operators.shards.sharding import shard_of
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Campaign, Event
from tests.naive_rules import Naive
from tests.shared import shared_data
from tests.streams import GAP_MS, LATENESS_MS, MINUTE_MS, SHARDS, Flow, shuffled_within, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.naive_rules import Change

RULES = """
looks: {when: {event: item_view, count: at least 2, within: 1 h}}
kind-1:
  when: {event: [item_view, cart_add], category: wear/kind 1, count: between 1 and 2, within: 90 min}
dear: {when: {event: cart_add, price: more than 50, within: 2 h}}
wide: {when: {event: any, distinct items: at least 4, within: 3 h}}
kinds: {when: {event: item_view, distinct categories: at most 1, within: 2 h}}
days: {when: {event: any, distinct days: at least 2, within: 3 d}}
spent: {when: {event: purchase, sum of value: at least 100, within: 4 h}}
net: {when: {event: purchase, sum of net value: at least 30}}
pieces: {when: {event: purchase, sum of quantity: at least 3, within: 12 h}}
wear: {when: {event: purchase, category: wear/kind 3, sum of value: at least 9.99, within: 12 h}}
phones: {when: {event: any, device: phone, campaign_source: [mail, ad], count: at least 2, within: 1 h}}
on-phone: {when: {all: [device is phone, "country is one of DE, AT"]}}
quiet: {when: {no: [purchase, refund], for: 2 h}}
no-search: {when: {no: search, within: 30 min}}
cart-left:
  when:
    sequence:
      - event: cart_add
      - then no: purchase
        within: 30 min
    within: 4 h
funnel:
  when:
    sequence:
      - event: item_view
      - then: cart_add
        within: 20 min
      - then: [checkout_start, purchase]
    within: 3 h
viewed-and-left:
  when:
    sequence:
      - event: item_view
      - then no: [cart_add, purchase]
        within: 20 min
    same: item
    within: 2 h
twice-and-bought:
  when:
    sequence:
      - event: [item_view, wishlist_add]
        category: wear
      - then: [item_view, cart_add]
        price: more than 1
        within: 1 h
      - then: purchase
    same: item
    within: 3 h
here: {when: {all: [session_minutes >= 1, session_views at least 1]}}
carting: {when: "intent is one of cart, checkout"}
full-cart: {when: {all: [session_cart_value >= 100, session_purchases at most 0]}}
short: {when: session_events less than 3}
new: {when: first_seen_days < 0.1}
old: {when: {all: [first_seen_days at least 0.05, recency_days more than 0.02, refunded < 5]}}
away: {when: last_seen_days >= 0.02}
bought: {when: recency_days between 0.01 and 0.1}
worth: {when: {any: [revenue >= 100, aov > 50, {all: [purchases >= 1, known is yes]}]}}
no-ads: {when: consent.ads is not yes}
often:
  when: {all: [sessions >= 2, events more than 3, {not: {segment: worth}}, {not: {holdout: 30 %}}]}
ever: {when: {event: cart_add, category: wear, count: at least 3}}
"""


def rules_of(text: str) -> ProcessorConfig:
    compiled = RuleSet.from_text(text, "segments.yaml", gap_ms=GAP_MS)
    return ProcessorConfig.from_config(
        Sessions(shards=SHARDS), Profiles(), State(), Lifecycle(), compiled
    )


def in_shards(
    stream: Sequence[Event], text: str, cuts: int
) -> tuple[list[Change], dict[str, set[str]]]:
    """The transitions of the flow, and the memberships at the end."""
    flow = Flow(rules=rules_of(text))
    rest = iter(stream)
    while batch := list(islice(rest, cuts)):
        flow.feed(batch)
    flow.feed([], last=True)
    members = {
        name: set(shopper.rule_state.members)
        for name, shopper in flow.outcome().shoppers.items()
        if shopper.rule_state is not None
    }
    transitions = [astuple(one) for visited in flow.visited for one in visited.transitions]
    return transitions, members


def naively(stream: Sequence[Event], text: str) -> Naive:
    naive = Naive(text, gap_ms=GAP_MS, lateness_ms=LATENESS_MS)
    for one in stream:
        naive.arrive(one)
    naive.end()
    return naive


def compare(stream: Sequence[Event], text: str, cuts: int) -> int:
    """Assert that both give the same transitions; returns how many."""
    naive = naively(stream, text)
    transitions, members = in_shards(stream, text, cuts)
    for mine, other in ((transitions, naive.changes), (naive.changes, transitions)):
        others = set(other)
        assert [one for one in mine if one[0] not in naive.gone and one not in others] == []
    assert members == {name: person.members for name, person in naive.people.items()}
    # Who was erased may come, leave and come again in one millisecond.
    lasting = [one for one in transitions if one[0] not in naive.gone]
    assert len(lasting) == len(set(lasting))
    return len(transitions)


def in_context(stream: Sequence[Event], seed: int) -> list[Event]:
    """The stream with devices, countries and campaigns, some events twice, out of order."""
    rng = random.Random(seed)
    events: list[Event] = []
    for one in stream:
        more: dict[str, Any] = {
            "device": rng.choice([None, "phone", "desktop"]),
            "country": rng.choice([None, None, "DE", "FR"]),
        }
        if rng.random() < 0.4:
            more["campaign"] = Campaign(source=rng.choice(["mail", "ad", "web"]))
        events.append(msgspec.structs.replace(one, **more))
        if rng.random() < 0.1:
            events.append(events[-1])
    return shuffled_within(events, rng.choice([0, 4, 60]) * MINUTE_MS, seed)


@given(
    streams(max_events=20, orders_repeat=True, settled=False),
    st.integers(0, 1000),
    st.sampled_from([1, 3, 4096]),
)
def test_random_streams(stream: list[Event], seed: int, cuts: int) -> None:
    compare(in_context(stream, seed), RULES, cuts)


SHOP = """
phones: {when: {event: item_view, category: electronics/smartphone, count: at least 3, within: 1 h}}
compares: {when: {event: item_view, category: electronics, distinct items: at least 5, within: 30 min}}
brands: {when: {event: item_view, brand: [apple, samsung], distinct brands: at least 2, within: 2 h}}
dear: {when: {event: cart_add, price: at least 500, within: 3 h}}
cart-left:
  when:
    sequence:
      - event: cart_add
      - then no: purchase
        within: 30 min
    within: 6 h
passed-over:
  when:
    sequence: [event: item_view, then: item_view, {then no: cart_add, within: 10 min}]
    same: item
    within: 12 h
bought-at-once:
  when:
    sequence:
      - event: item_view
      - then: cart_add
        within: 5 min
      - then: purchase
        within: 10 min
    within: 12 h
big-order: {when: {event: purchase, value: at least 300, within: 4 h}}
spent: {when: {event: purchase, sum of value: more than 500, within: 6 h}}
long-visit: {when: {all: [session_minutes >= 10, session_carts exactly 0]}}
left: {when: {all: [last_seen_days >= 0.05, views >= 5, {not: {segment: buyers}}]}}
buyers: {when: {any: [purchases >= 1, revenue > 0]}}
window-shopper: {when: {all: [{no: [cart_add, purchase], for: 1 h}, {not: {holdout: 10 %}}]}}
"""
RETAIL = """
loyal: {when: {event: purchase, count: at least 3, within: 90 d}}
lapsed: {when: {no: purchase, for: 60 d}}
big: {when: {event: purchase, sum of value: at least 1000, within: 30 d}}
net: {when: {event: purchase, sum of net value: at least 1000, within: 60 d}}
dear: {when: {event: purchase, price: at least 20, within: 14 d}}
variety: {when: {event: purchase, distinct items: at least 40, within: 60 d}}
pieces: {when: {event: purchase, sum of quantity: more than 500, within: 30 d}}
returns: {when: {event: refund, count: at least 1, within: 7 d}}
again: {when: {sequence: [event: purchase, {then: purchase, within: 14 d}], within: 40 d}}
one-time: {when: {all: [purchases exactly 1, recency_days between 30 and 90]}}
new: {when: first_seen_days < 14}
worth: {when: {all: [aov > 400, purchases >= 2, {not: {segment: lapsed}}]}}
"""


def recorded(name: str, form: str, events: int, people: int) -> list[Event]:
    """The first events of a shop, of some of its shoppers."""
    log = LogFile(str(shared_data(name)))
    records = READERS[form](log.lines(), source=name, now_ms=2**62)
    some = (one for one in records if isinstance(one, Event) and one.type != "item")
    return [one for one in islice(some, events) if shard_of(device_key(one), people) == 0]


@pytest.mark.parametrize(
    ("events", "people"),
    [(20_000, 6), pytest.param(20_000, 1, marks=pytest.mark.long)],
)
def test_a_day_of_a_shop(events: int, people: int) -> None:
    stream = recorded("rees46_2019-10-01.csv.gz", "rees46", events, people)
    assert compare(stream, SHOP, 1000) > len(stream) // 10


@pytest.mark.parametrize(
    ("events", "people"),
    [(4_000, 8), pytest.param(20_000, 4, marks=pytest.mark.long)],
)
def test_months_of_a_wholesaler(events: int, people: int) -> None:
    name = "online_retail_2010-12_2011-07.csv.gz"
    stream = recorded(name, "online-retail", events, people)
    assert compare(stream, RETAIL, 100) > len(stream)
