"""What persons bought, in any order within the allowed lateness: the figures equal a naive recount.

The recount knows persons, not ids: every device belongs to somebody in the end, an order is one order
and an event one event, whoever sent it and however often; refunds are held against their orders; money
in other currencies is changed by its rate or stands apart.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from operators.segments.rules.compiler import RuleSet
from operators.shards.config import ProcessorConfig
from state.config import Lifecycle, Money, Profiles, Sessions, State
from state.events import Item
from tests.streams import GAP_MS, LATENESS_MS, MINUTE_MS, SHARDS, Flow, event, shuffled_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.events import Event
    from state.shopper import Shopper

MONEY = Money(currency="EUR", rates={"USD": 0.5})
SEGMENTS = """
spent: {when: {event: purchase, sum of value: at least 60, within: 30 d}}
net: {when: {event: purchase, sum of net value: at least 40}}
twice: {when: {event: purchase, count: at least 2, within: 30 d}}
pieces: {when: {event: purchase, sum of quantity: at least 5}}
rich: {when: {all: [revenue >= 60, aov >= 20]}}
back: {when: refunded >= 20}
"""
RULES = ProcessorConfig.from_config(
    Sessions(shards=SHARDS),
    Profiles(),
    State(),
    Lifecycle(),
    RuleSet.from_text(SEGMENTS, "segments.yaml", gap_ms=GAP_MS),
)
GOODS = (Item("mug", price=30.0), Item("cup", price=10.0, quantity=2), Item("gift"))
WHO = {"phone": "ann", "laptop": "ann", "tablet": "bob", "kiosk": None}


@dataclass
class Person:
    """What a person bought: of each order its worth, and what was asked back of it."""

    orders: dict[str, Event] = field(default_factory=dict)
    refunds: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))


@st.composite
def shops(draw: st.DrawFn) -> list[Event]:
    """Orders and refunds of two people and a stranger, whose devices are known at some time or never.

    An order is the same whoever sends it; events may be sent again, from another device too.
    """
    stream: list[Event] = []
    at_ms = 0
    for number in range(draw(st.integers(1, 14))):
        at_ms += draw(st.integers(0, 3 * MINUTE_MS))
        device = draw(st.sampled_from(list(WHO)))
        user = WHO[device]
        who = draw(st.sampled_from(["device", "user", "both"])) if user else "device"
        ids: dict[str, Any] = {
            "anonymous_id": None if who == "user" else device,
            "user_id": None if who == "device" else user,
        }
        kind = draw(st.sampled_from(["purchase", "purchase", "refund", "identify", "again"]))
        order = draw(st.integers(0, 3))
        of = f"order {order} of {user or device}"
        more: dict[str, Any]
        if kind == "again" and stream:
            last = draw(st.sampled_from(stream))
            if WHO.get(last.anonymous_id or "", last.user_id) == user:
                more = {"items": last.items, "value": last.value, "currency": last.currency}
                more["order_id"] = last.order_id
                stream.append(event(last.type, last.event_id, at_ms, **ids, **more))
        elif kind == "purchase":
            more = {"items": GOODS[: order + 1], "value": None if order == 2 else 50.0 - order}
            currency = [None, "EUR", "USD", "JPY"][order]
            stream.append(
                event("purchase", number, at_ms, **ids, order_id=of, currency=currency, **more)
            )
        elif kind == "refund":
            more = draw(
                st.sampled_from([{}, {"value": 15.0}, {"value": 80.0}, {"items": (Item("mug"),)}])
            )
            stream.append(event("refund", number, at_ms, **ids, order_id=of, **more))
        else:
            stream.append(event("identify", number, at_ms, **ids))
    return stream


def recount(stream: Iterable[Event]) -> dict[str, Person]:
    """Persons by the name that they have in the end."""
    owners = {e.anonymous_id: e.user_id for e in stream if e.anonymous_id and e.user_id}
    people: dict[str, Person] = defaultdict(Person)
    seen: set[tuple[str, str]] = set()
    for one in stream:
        name = one.user_id or owners.get(one.anonymous_id or "") or str(one.anonymous_id)
        person = people[name]
        if (name, one.event_id) in seen:
            continue
        seen.add((name, one.event_id))
        if one.type == "purchase":
            person.orders.setdefault(str(one.order_id), one)
        elif one.type == "refund":
            person.refunds[str(one.order_id)].append(one)
    return people


def rate_of(order: Event | None) -> float | None:
    code = None if order is None else order.currency
    return {None: 1.0, "EUR": 1.0, "USD": 0.5}.get(code)


def worth(order: Event) -> float:
    if order.value is not None:
        return order.value
    return sum((item.price or 0) * item.quantity for item in order.items)


def asked(refund: Event, order: Event | None) -> float:
    """What a refund asks for, in the currency of its order; it says an amount in euros."""
    if refund.value is not None:
        return refund.value
    if order is None:
        return 0.0
    if not refund.items:
        return worth(order)
    if rate_of(order) is None:  # whose prices are apart too: by pieces
        return worth(order) / sum(item.quantity for item in order.items)
    goods = sum((item.price or 0) * item.quantity for item in order.items)
    return worth(order) * 30.0 / goods


def figures(person: Person) -> dict[str, Any]:
    revenue = refunded = apart = 0.0
    count = 0
    for name in {*person.orders, *person.refunds}:
        order, refunds = person.orders.get(name), person.refunds.get(name, [])
        rate, limit = rate_of(order), float("inf")
        if order is not None:
            limit = worth(order)
            revenue += limit * (rate or 0)
            apart += limit if rate is None else 0
        wholes = [r for r in refunds if r.value is None and not r.items]
        scale = 1.0 if rate is None else rate
        # An amount is said in euros where it does not say; of an order apart it is in its currency.
        parts = sum(
            asked(r, order) * (1.0 if r.value is not None else scale) for r in refunds
            if r not in wholes
        )  # fmt: skip
        given = limit * scale if wholes and order else min(parts, limit * scale)
        refunded += 0 if rate is None else given
        apart -= given if rate is None else 0
        count += len(refunds) - len(wholes) + bool(wholes)
    return {
        "purchases": len(person.orders),
        "units": sum(ceil(i.quantity) for o in person.orders.values() for i in o.items),
        "revenue": round(revenue, 3),
        "refunds": count,
        "refunded": round(refunded, 3),
        "apart": round(apart, 3),
    }


def told(shopper: Shopper) -> dict[str, Any]:
    return {
        "purchases": shopper.purchases,
        "units": shopper.units,
        "revenue": round(shopper.revenue_micros / 1e6, 3),
        "refunds": shopper.refunds,
        "refunded": round(shopper.refund_micros / 1e6, 3),
        "apart": round((shopper.unconverted_micros or {}).get("JPY", 0) / 1e6, 3),
    }


def members(person: Person) -> set[str]:
    """The segments above, of the same recount."""
    said = figures(person)
    orders = [o for o in person.orders.values() if rate_of(o) is not None]
    aov = said["revenue"] / len(orders) if orders else 0
    return {
        name
        for name, is_in in {
            "spent": said["revenue"] >= 60,
            "net": said["revenue"] - said["refunded"] >= 40,
            "twice": said["purchases"] >= 2,
            "pieces": said["units"] >= 5,
            "rich": said["revenue"] >= 60 and aov >= 20,
            "back": said["refunded"] >= 20,
        }.items()
        if is_in
    }


def run(stream: Sequence[Event], cut: int, *, restarts: bool) -> Flow:
    flow = Flow(rules=RULES, money=MONEY)
    for start in range(0, len(stream), cut):
        flow.feed(stream[start : start + cut])
        flow = flow.resumed() if restarts else flow
    flow.feed([], last=True)
    return flow


@given(shops(), st.integers(0, 9), st.sampled_from([1, 3, 100]), st.booleans())
def test_figures_of_orders_equal_a_recount_of_persons(
    stream: list[Event], seed: int, cut: int, restarts: bool
) -> None:
    arrived = shuffled_within(stream, LATENESS_MS, seed)
    flow = run(arrived, cut, restarts=restarts)
    people = recount(arrived)
    shoppers = flow.outcome().shoppers
    assert {name: told(one) for name, one in shoppers.items()} == {
        name: figures(person) for name, person in people.items()
    }
    inside = {
        n: set(one.rule_state.members) if one.rule_state else set() for n, one in shoppers.items()
    }
    assert inside == {name: members(person) for name, person in people.items()}
    orders = [(one.value_micros, 1) for v in flow.visited for one in v.orders]
    orders += [(-one.value_micros, -1) for v in flow.visited for one in v.double_counted_orders]
    assert sum(count for _, count in orders) == sum(len(p.orders) for p in people.values())
    total = sum(figures(person)["revenue"] for person in people.values())
    assert round(sum(micros for micros, _ in orders) / 1e6, 3) == round(total, 3)
