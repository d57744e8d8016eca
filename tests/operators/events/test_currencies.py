"""Currencies: all figures are in the shop's; amounts in others are converted, or not added up."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.commands.show import _describe_profile
from operators.events.currencies import CurrencyConverter
from operators.shards.config import ProcessorConfig
from state import config
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Event, Item
from tests.streams import MINUTE_MS, SHARDS, START_MS, Flow, event, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from state.shopper import Shopper

RULES = ProcessorConfig.from_config(Sessions(shards=SHARDS), Profiles(), State(), Lifecycle())
RATES = config.Money(currency="EUR", rates={"USD": 0.5})
MUG = Item("mug", price=30.0)


def order(number: int, amount: float | None, currency: str | None, **more: Any) -> Event:
    more = {"order_id": f"order {number}", "value": amount, "currency": currency} | more
    return event("purchase", f"o{number}", number * MINUTE_MS, **more)


def shopper(stream: Sequence[Event], money: config.Money | None = None, cut: int = 100) -> Shopper:
    flow = Flow(rules=RULES, money=money)
    for start in range(0, len(stream), cut):
        flow.feed(stream[start : start + cut])
        flow = flow.resumed()
    return flow.outcome().shoppers["ann"]


def figures(one: Shopper) -> tuple[float, int, dict[str, float]]:
    apart = {code: amount / 1e6 for code, amount in (one.unconverted_micros or {}).items()}
    return one.revenue_micros / 1e6, one.purchases, apart


def test_without_a_configuration_the_first_currency_is_the_shops() -> None:
    stream = [
        order(0, 1.0, None),
        order(1, 10.0, "EUR"),
        order(2, 10_000.0, "JPY"),
        order(3, 5.0, "EUR"),
        order(4, 2.0, None),
    ]
    for cut in (1, 2, 100):
        assert figures(shopper(stream, cut=cut)) == (18.0, 5, {"JPY": 10_000.0})


def test_the_configured_currency_holds_whatever_comes_first() -> None:
    stream = [order(1, 10_000.0, "JPY"), order(2, 10.0, "EUR"), order(3, 7.0, None)]
    for arrived in permutations(stream):
        found = shopper(arrived, config.Money(currency="EUR"))
        assert figures(found) == (17.0, 3, {"JPY": 10_000.0})
        assert (found.currency, found.unconverted_orders) == ("EUR", 1)


def test_a_currency_with_a_rate_is_converted_with_its_items() -> None:
    stream = [
        order(1, 10.0, "USD"),
        order(2, None, "USD", items=(Item("mug", price=3.0, quantity=2), Item("cup"))),
        event("item_view", "v", 0, items=(Item("mug", price=3.0),), currency="USD"),
        event("cart_add", "c", 0, items=(Item("mug", price=3.0),), currency="usd "),
        event("refund", "r", 5 * MINUTE_MS, order_id="order 1", value=2.0, currency="USD"),
        event("refund", "s", 6 * MINUTE_MS, order_id="order 2"),
    ]
    found = shopper(stream, RATES)
    assert figures(found) == (8.0, 2, {})
    assert found.refund_micros == 4_000_000
    assert (found.viewed_price_micros, found.viewed_prices) == (1_500_000, 1)
    assert found.open_sessions[-1].cart_micros == 1_500_000 - 3_000_000


@pytest.mark.parametrize("text", ["eur", " EUR ", "Eur\t", "EUR"])
def test_a_currency_is_the_same_in_any_case_and_with_blanks(text: str) -> None:
    for money in (None, RATES):
        assert figures(shopper([order(1, 1.0, "EUR"), order(2, 2.0, text)], money)) == (3.0, 2, {})


@pytest.mark.parametrize("text", ["", "  ", None])
def test_an_empty_currency_is_the_shops(text: str | None) -> None:
    assert figures(shopper([order(1, 2.0, text)], RATES)) == (2.0, 1, {})


@pytest.mark.parametrize("text", ["euro", "€", "E R", "12.5", "\uff25\uff35\uff32", "x" * 1000])
def test_text_that_is_no_code_is_not_added_up(text: str) -> None:
    stream = [order(1, 2.0, text), order(2, 1.0, "EUR")]
    assert figures(shopper(stream)) == (1.0, 2, {"?": 2.0})


def test_prices_in_another_currency_are_never_seen_beside_the_shops() -> None:
    stream = [
        event("item_view", "v1", 0, items=(MUG,), currency="EUR"),
        event("item_view", "v2", 1, items=(Item("mug", price=4000.0),), currency="JPY"),
        event("cart_add", "c", 2, items=(Item("mug", price=4000.0),), currency="JPY"),
    ]
    found = shopper(stream)
    assert (found.viewed_price_micros, found.viewed_prices) == (30_000_000, 1)
    assert (found.carts, found.open_sessions[-1].cart_micros) == (1, 0)


def test_a_refund_of_an_order_in_another_currency_is_not_added_up() -> None:
    for stream in permutations(
        [
            order(1, 10_000.0, "JPY"),
            event("refund", "r", 2 * MINUTE_MS, order_id="order 1", value=4000.0, currency="JPY"),
            order(2, 10.0, "EUR"),
            event("refund", "s", 3 * MINUTE_MS, order_id="order 1", value=500.0),
        ]
    ):
        found = shopper(stream, config.Money(currency="EUR"))
        assert figures(found) == (10.0, 2, {"JPY": 5500.0})
        assert (found.refunds, found.refund_micros) == (2, 0)
        whole = event("refund", "w", 9 * MINUTE_MS, order_id="order 1")
        assert figures(shopper([*stream, whole], config.Money(currency="EUR"))) == (
            10.0,
            2,
            {"JPY": 0.0},
        )


def test_an_order_in_another_currency_that_two_shoppers_had_counts_once() -> None:
    stream = [
        order(1, 10_000.0, "JPY", anonymous_id="phone"),
        event("purchase", "again", 3 * MINUTE_MS, None, "ann", order_id="order 1", value=10_000.0,
              currency="JPY"),
        event("identify", "i", 4 * MINUTE_MS, "phone", "ann"),
    ]  # fmt: skip
    found = shopper(stream, config.Money(currency="EUR"))
    assert figures(found) == (0.0, 1, {"JPY": 10_000.0})
    assert found.unconverted_orders == 1


def test_the_apart_field_of_an_incoming_event_is_ignored() -> None:
    lie = Event("1", "item_view", START_MS, items=(MUG,), anonymous_id="ann", apart=5.0)
    assert CurrencyConverter(RATES).convert(lie).apart is None


amounts = st.floats(0, 1e12)
codes = st.sampled_from([None, "EUR", "usd", "JPY", "??", ""])


@given(st.lists(st.tuples(amounts, codes, st.floats(1e-9, 1e9))))
def test_no_rate_or_amount_overflows(said: list[tuple[float, str | None, float]]) -> None:
    for number, (amount, code, rate) in enumerate(said):
        exchange = CurrencyConverter(config.Money(currency="EUR", rates={"USD": rate}))
        found = exchange.convert(order(number, amount, code, items=(Item("x", price=amount),)))
        assert found.value is None or 0 <= found.value <= 1e12
        assert (found.apart is None) == (code in (None, "EUR", "usd", ""))


def test_figures_come_with_their_currency_and_the_unconverted_events(
    redis_url: str, tmp_path: Path
) -> None:
    stream = [
        event("item_view", "v", 0, items=(MUG,), currency="EUR"),
        order(1, 10.0, "EUR", items=(MUG,)),
        order(2, 10_000.0, "JPY", items=(Item("mug", price=10_000.0),)),
        event("item", "i", 3 * MINUTE_MS, items=(Item("mug", price=1.0),), currency="JPY"),
        event("page_view", "p", 9 * MINUTE_MS, currency="JPY"),
    ]
    rows = run_flow(stream, redis_url, tmp_path)
    profile = dict(rows["ps:1:shopper:{ann}:profile"])
    said = [
        profile[name] for name in (b"purchases", b"revenue", b"aov", b"currency", b"unconverted")
    ]
    assert said == [b"2", b"10.00", b"10.00", b"EUR", b"JPY 10000.00"]
    shown = _describe_profile({name.decode(): value.decode() for name, value in profile.items()})
    assert shown[1].endswith("orders 2, revenue 10.00 EUR")
    assert shown[-1] == "orders in other currencies, without a rate: JPY 10000.00"
    now, quality = dict(rows["ps:1:shop:now"]), dict(rows["ps:1:quality"])
    assert (now[b"revenue_today"], now[b"currency"], now[b"unconverted"]) == (
        b"10.00",
        b"EUR",
        b"2",
    )
    assert quality[b"unconverted.JPY"] == b"2"
    card = dict(rows["ps:1:item:{mug}:card"])
    assert (card[b"price"], card[b"currency"]) == (b"30.00", b"EUR")
    assert not [
        key for key in rows if "changes" in key and b"price-drop" in repr(rows[key]).encode()
    ]
    meta = dict(rows["ps:1:meta"])
    assert meta[b"unconverted"] == b'{"JPY":2}'
    settings = flow_settings(money=config.Money(currency="EUR", rates={"JPY": 0.01}))
    rows = run_flow(stream, redis_url, tmp_path, settings=settings)
    profile = dict(rows["ps:1:shopper:{ann}:profile"])
    assert (profile[b"revenue"], profile[b"aov"]) == (b"110.00", b"55.00")
    assert dict(rows["ps:1:meta"])[b"unconverted"] == b"{}"


def test_an_unconverted_event_that_is_read_again_has_the_same_value() -> None:
    once = CurrencyConverter(config.Money(currency="EUR")).convert(order(1, 10_000.0, "JPY"))
    assert CurrencyConverter(config.Money(currency="EUR")).convert(once) == once
    assert (
        CurrencyConverter(config.Money(currency="EUR", rates={"JPY": 0.01})).convert(once).value
        == 100.0
    )
