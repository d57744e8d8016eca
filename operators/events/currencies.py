"""Converts the amounts of events to the shop's currency, where events are read.

An event without a currency is in the shop's. Amounts in a currency with a rate are converted. Of an
event in a currency without a rate only the sum is kept, in `Event.apart`, and no price. So nothing that
adds up, compares or averages money meets two currencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shoppers import amounts
from operators.shoppers.amounts import UNKNOWN_CURRENCY
from state import config
from state.events import MONEY_MAX
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from state.events import Event, Item

CURRENCIES_MAX = 200
"""So many codes are counted by name, more than are in use; the rest counts as unknown."""
_CODE_CHARS = 3


def currency_code(text: str) -> str:
    """The code of a currency; "" for none, `UNKNOWN_CURRENCY` for text that is no code.

    >>> currency_code(" eur "), currency_code("euro"), currency_code("  ")
    ('EUR', '?', '')
    """
    code = text.strip().upper()
    if not code:
        return ""
    return (
        code if len(code) == _CODE_CHARS and code.isascii() and code.isalpha() else UNKNOWN_CURRENCY
    )


class CurrencyConverter:
    """Converts events to the shop's currency.

    `shop_currency` is the configured one. If none is configured, it is the first that an event names, or
    that a partition has named in an earlier run; "" before that.
    """

    def __init__(self, money: config.Money | None = None) -> None:
        money = money or config.Money()
        self.shop_currency = money.currency
        self._rates = money.rates

    def resume(self, shop_currency: str) -> None:
        """Continue with the currency that a partition has named in an earlier run."""
        self.shop_currency = self.shop_currency or shop_currency

    def convert(self, event: Event, unconverted: dict[str, int] | None = None) -> Event:
        """Convert an event whose currency is not written exactly as the shop's code.

        Events in a currency without a rate are counted in `unconverted`, by currency.
        """
        code = currency_code(event.currency or "")
        if event.apart is not None and event.value is None:  # a dead letter that is read again
            event = replace(event, value=min(event.apart, MONEY_MAX))
        if not code:
            return replace(event, currency=None, apart=None)
        if not self.shop_currency and code != UNKNOWN_CURRENCY:
            self.shop_currency = code
        if code == self.shop_currency:
            return replace(event, currency=code, apart=None)
        rate = self._rates.get(code)
        if rate is not None:
            return _convert_at_rate(event, rate, self.shop_currency)
        event = _set_amount_apart(event, code)
        if unconverted is not None and event.apart is not None:
            _count_currency(unconverted, code)
        return event


def _convert_at_rate(event: Event, rate: float, shop_currency: str) -> Event:
    items = tuple(_with_price(item, _convert_amount(item.price, rate)) for item in event.items)
    return replace(
        event,
        items=items,
        value=_convert_amount(event.value, rate),
        currency=shop_currency,
        apart=None,
    )


def _convert_amount(amount: float | None, rate: float) -> float | None:
    return None if amount is None else min(round(amount * rate, 6), MONEY_MAX)


def _set_amount_apart(event: Event, code: str) -> Event:
    if event.value is None and all(item.price is None for item in event.items):
        return replace(event, currency=None, apart=None)
    amount = amounts.value_micros(event) / MICROS_PER_UNIT
    items = tuple(_with_price(item, None) for item in event.items)
    return replace(event, items=items, value=None, currency=code, apart=amount)


def _with_price(item: Item, price: float | None) -> Item:
    return item if item.price is None else replace(item, price=price)


def _count_currency(counts: dict[str, int], name: str) -> None:
    if name not in counts and len(counts) >= CURRENCIES_MAX:
        name = UNKNOWN_CURRENCY
    counts[name] = counts.get(name, 0) + 1
