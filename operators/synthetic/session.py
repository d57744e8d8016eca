"""One session of a synthetic shopper, as events."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from state.events import Event, Page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.synthetic.personas import Persona
    from state.events import EventType, Item


class Visitor(NamedTuple):
    """The shopper of a session: its persona, its ids, and whether it is signed in from the start."""

    persona: Persona
    anonymous_id: str
    account: str | None
    is_signed_in: bool


class SessionGenerator:
    """Generates the events of one session, in order, from random numbers drawn before."""

    def __init__(
        self,
        name: str,
        visitor: Visitor,
        goods: Sequence[Item],
        times: list[int],
        delays: list[int],
        draws: list[float],
    ) -> None:
        self.name = name
        self.persona = visitor.persona
        self.account = visitor.account
        self.anonymous_id = visitor.anonymous_id
        self.user_id = visitor.account if visitor.is_signed_in else None
        self.goods = goods
        self.steps = zip(count(), times, delays, strict=False)
        self.draw = iter(draws).__next__

    def events(self, items: list[int]) -> Iterator[Event]:
        """An entry event, views of these items with cart events, and perhaps an order."""
        persona = self.persona
        if self.draw() < persona.search_probability:
            yield self._event("search", query=self.goods[items[0]].category[-1])
        else:
            yield self._event("page_view", page=Page(path="/"))
        cart: Counter[int] = Counter()
        for item in items:
            single = (self.goods[item],)
            yield self._event("item_view", single)
            if self.draw() < persona.cart_add_probability:
                cart[item] += 1
                yield self._event("cart_add", single)
                if self.draw() < persona.cart_remove_probability:
                    del cart[item]
                    yield self._event("cart_remove", single)
        if cart and self.draw() < persona.order_probability:
            if self.account and not self.user_id:
                self.user_id = self.account
                yield self._event("identify")
            yield self._event("checkout_start")
            yield self._order(cart)

    def _order(self, cart: Counter[int]) -> Event:
        bought = tuple(
            msgspec.structs.replace(self.goods[item], quantity=n) for item, n in cart.items()
        )
        value = round(sum((item.price or 0.0) * item.quantity for item in bought), 2)
        return self._event("purchase", bought, order_id=f"order-{self.name}", value=value)

    def _event(self, kind: EventType, items: tuple[Item, ...] = (), **fields: Any) -> Event:
        step, event_ts, delay_ms = next(self.steps)
        return Event(
            f"{self.name}-{step}",
            kind,
            event_ts,
            event_ts + delay_ms,
            self.anonymous_id,
            self.user_id,
            items,
            currency="EUR",
            **fields,
        )
