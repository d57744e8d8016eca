"""Collects from a log what an experiment is measured by: exposures, orders, refunds, clicks, and
who is who.

Events come in the order of the log. Times decide what counts, so nothing is summed before the log
has ended. An event id counts once.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from operators.events.currencies import CurrencyConverter
from operators.shards.identity_map import IdentityMap
from operators.shoppers import amounts
from operators.shoppers.id_hashes import id_hash
from operators.shoppers.orders import merge_orders, order_of
from operators.shoppers.refunds import pack_refund, refunded_micros
from state.shopper import Order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from state import config
    from state.events import Event

Found = TypeVar("Found")
_ORDER_EVENTS: Final = frozenset({"purchase", "refund"})


class Exposure(NamedTuple):
    """A `reco_view` that names the experiment: what a shopper saw, and the ids of the event."""

    at_ms: int
    shopper: str
    variant: str
    anonymous_id: str | None
    user_id: str | None


class OrderEvent(NamedTuple):
    """A purchase or a refund of an order."""

    at_ms: int
    order_id: str
    order: Order


class UnitLog:
    """Observes the events of a log. `name` and `slot` are those of the experiment.

    With `name` None every `reco_view` of the slot is an exposure, to plan an experiment that has
    not begun.
    """

    def __init__(self, name: str | None, slot: str, money: config.Money | None = None) -> None:
        self.exposures: list[Exposure] = []
        self._clicks: defaultdict[str, list[int]] = defaultdict(list)
        self.last_ms = 0
        self.other_currency = 0
        self._name, self._slot = name, slot
        self._converter = CurrencyConverter(money)
        self._identities = IdentityMap()
        self._merged_into: dict[str, str] = {}
        self._orders: defaultdict[str, list[OrderEvent]] = defaultdict(list)
        self._event_hashes: set[bytes] = set()

    def observe(self, event: Event) -> None:
        """Keep what the event says of the experiment."""
        event_hash = id_hash(event.event_id)
        if event_hash in self._event_hashes:
            return
        self._event_hashes.add(event_hash)
        self.last_ms = max(self.last_ms, event.event_ts)
        shopper = self._shopper_of(event)
        if event.type in _ORDER_EVENTS:
            self._observe_order(self._converter.convert(event), shopper)
        elif event.reco is not None:
            self._observe_list(event, shopper)

    def shopper_at_end(self, shopper: str) -> str:
        """The shopper that this one has become, once the whole log is known."""
        return self._merged_into.get(shopper, shopper)

    def orders_by_shopper(self) -> dict[str, list[OrderEvent]]:
        """Purchases and refunds of each shopper, oldest first."""
        by_shopper = self._by_shopper_at_end(self._orders)
        return {name: sorted(found, key=_time_of) for name, found in by_shopper.items()}

    def clicks_by_shopper(self) -> dict[str, list[int]]:
        """The times of clicks in the slot of each shopper, oldest first."""
        by_shopper = self._by_shopper_at_end(self._clicks)
        return {name: sorted(times) for name, times in by_shopper.items()}

    def _by_shopper_at_end(self, found: Mapping[str, list[Found]]) -> dict[str, list[Found]]:
        by_shopper: dict[str, list[Found]] = {}
        for shopper, values in found.items():
            by_shopper.setdefault(self.shopper_at_end(shopper), []).extend(values)
        return by_shopper

    def _observe_order(self, event: Event, shopper: str) -> None:
        self.other_currency += event.apart is not None
        order_id = event.order_id or event.event_id
        if event.type == "refund":
            packed = pack_refund(id_hash(event.event_id), event)
            order = Order(event.event_ts, refunds=packed, currency=amounts.amount_currency(event))
        else:
            order = order_of(event)
        self._orders[shopper].append(OrderEvent(event.event_ts, order_id, order))

    def _observe_list(self, event: Event, shopper: str) -> None:
        reco = event.reco
        assert reco is not None
        if event.type == "reco_click" and reco.slot == self._slot:
            self._clicks[shopper].append(event.event_ts)
        if event.type != "reco_view":
            return
        is_exposure = (
            reco.slot == self._slot if self._name is None else reco.experiment == self._name
        )
        if is_exposure:
            ids = event.anonymous_id, event.user_id
            self.exposures.append(Exposure(event.event_ts, shopper, reco.variant or "", *ids))

    def _shopper_of(self, event: Event) -> str:
        if event.anonymous_id is None:
            self._identities.mark_as_user(event.user_id or "", event.event_ts)
            return event.user_id or ""
        found = self._identities.resolve(event)
        if found is None:
            return event.anonymous_id
        if found.is_new_link:
            self._merged_into[event.anonymous_id] = found.user_id
        return found.user_id


def _time_of(event: OrderEvent) -> int:
    return event.at_ms


def net_orders(events: list[OrderEvent], from_ms: int, before_ms: int) -> Iterator[int]:
    """What each order between two times is worth after the refunds between them (millionths).

    A copy of an order counts once. A refund of an order from before `from_ms` takes nothing away.
    """
    by_id: dict[str, Order] = {}
    for event in events:
        if not from_ms <= event.at_ms < before_ms:
            continue
        known = by_id.get(event.order_id)
        order = event.order
        by_id[event.order_id] = order if known is None else merge_orders(known, order)[0]
    for order in by_id.values():
        if order.has_arrived:
            # An amount in a currency without a rate is an order, and no revenue.
            yield 0 if order.currency else order.value_micros - refunded_micros(order)
