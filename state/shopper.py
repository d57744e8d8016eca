"""The state of a shopper: profile counters, open sessions, ids of events that were counted.

Stored in snapshots: a new field needs a default and goes last; any other change needs a new version
in `snapshots.py`. Money is whole millionths (`state.money`), so that sums do not depend on order.
"""

from __future__ import annotations

from typing import Final

import msgspec

from state.money import add

BROWSING, CONSIDERING, CART, CHECKOUT, BOUGHT = range(5)
INTENTS: Final = ("browsing", "considering", "cart", "checkout", "bought")
"""How far down the funnel a session has come."""


DECISION_BYTES: Final = 9
DECISIONS_PER_SESSION: Final = 8
_YES, _NO = b"\1", b"\0"

ConsentStatement = tuple[int, bool | None, bool | None, bool | None]
"""The time of a statement (ms); the answers for analytics, personalization and ads. None: not asked."""

ANALYTICS, PERSONALIZATION, ADS = 1, 2, 4
PURPOSES: Final = {"analytics": ANALYTICS, "personalization": PERSONALIZATION, "ads": ADS}
"""The purposes, as bits of what is refused, in the order of a statement."""
ALL_PURPOSES: Final = 7

RefusalTimes = tuple[int, int, int]
"""The last refusal of each purpose (ms), 0 for never."""


def purpose_names(purposes: int) -> str:
    """Purposes by name.

    >>> purpose_names(PERSONALIZATION | ADS)
    'personalization,ads'
    """
    return ",".join(name for name, bit in PURPOSES.items() if purposes & bit)


class Session(msgspec.Struct, gc=False, array_like=True):
    """A run of events with no gap above the session gap. Times in ms, inclusive.

    `decisions`: nine bytes for each decision of a model in the session, whose outcome is known at its
    end: the hash of the event, and the number of purchases until then.
    """

    start_ms: int
    last_ms: int
    events: int = 0
    views: int = 0
    carts: int = 0
    purchases: int = 0
    cart_micros: int = 0
    intent: int = BROWSING
    decisions: bytes = b""

    def add_decision(self, event_hash: bytes) -> None:
        """Record a decision. The first few of a session are enough."""
        if len(self.decisions) < DECISIONS_PER_SESSION * DECISION_BYTES:
            self.decisions += event_hash + bytes((min(self.purchases, 255),))

    def decision_outcomes(self, ended_ms: int) -> bytes:
        """For each decision: the end of the session, the event hash, and 1 if a purchase followed."""
        purchases, ended = self.purchases, ended_ms.to_bytes(8, "little", signed=True)
        return b"".join(
            ended
            + self.decisions[offset : offset + DECISION_BYTES - 1]
            + (_YES if purchases > self.decisions[offset + DECISION_BYTES - 1] else _NO)
            for offset in range(0, len(self.decisions), DECISION_BYTES)
        )

    def decision_hashes(self) -> list[bytes]:
        """The hashes of the events at which decisions were made."""
        return [
            self.decisions[offset : offset + DECISION_BYTES - 1]
            for offset in range(0, len(self.decisions), DECISION_BYTES)
        ]

    def merge(self, other: Session) -> None:
        """Merge a later session into this one."""
        if other.decisions:
            later_decisions = bytearray(other.decisions)
            for offset in range(DECISION_BYTES - 1, len(later_decisions), DECISION_BYTES):
                later_decisions[offset] = min(later_decisions[offset] + self.purchases, 255)
            self.decisions += later_decisions
        self.start_ms = min(self.start_ms, other.start_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.events += other.events
        self.views += other.views
        self.carts += other.carts
        self.purchases += other.purchases
        self.cart_micros = add(self.cart_micros, other.cart_micros)
        self.intent = max(self.intent, other.intent)


ORDER_NOT_SEEN, AMOUNT_UNKNOWN = -1, -2
"""In the place of a value: only refunds have arrived; an older release did not store the value."""


class Order(msgspec.Struct, gc=False, array_like=True):
    """A remembered order. While only refunds of it have arrived, `at_ms` is the time of the newest.

    `goods_micros`: its items at their prices. `items` and `refunds` are packed as in
    `operators.shoppers.orders`; `folded_refunds` of the refunds are combined into one amount.
    `currency`: "" for the shop's, None if only refunds arrived and none named a currency.
    """

    at_ms: int
    value_micros: int = ORDER_NOT_SEEN
    units: int = 0
    goods_micros: int = 0
    refunds: bytes = b""
    items: bytes = b""
    folded_refunds: int = 0
    currency: str | None = ""

    @property
    def has_arrived(self) -> bool:
        """Whether the order itself has arrived, and not only refunds of it."""
        return self.value_micros != ORDER_NOT_SEEN


LatestContext = dict[str, tuple[int, str]]
"""The last device, country and campaign of a shopper, each with its time (ms)."""


class RuleState(msgspec.Struct, gc=False, array_like=True):
    """What rule segments keep of a shopper. Times in ms.

    `members`: segment id -> entered. `windows`: packed windows (`operators.segments.rules.windows`) by
    the digest of their definition. `latest_context`: the last device, country and campaign, each with
    its time. `next_check_ms_by_rule`: when a rule (by digest) must be evaluated without an event;
    `next_check_ms` is the first of them, 0 for none, `RECHECK_ALL` if all must be evaluated soon.
    """

    members: dict[str, int] = {}
    windows: dict[int, bytes] = {}
    latest_context: LatestContext = {}
    next_check_ms_by_rule: dict[int, int] = {}
    next_check_ms: int = 0


RECHECK_ALL: Final = -1


class Shopper(msgspec.Struct, gc=False, array_like=True):
    """The state of one shopper: counters since the first event.

    `operators.shards.processor` and `operators.shoppers` change it in place.

    - `open_sessions`: sessions that the watermark has not closed, oldest first. `sessions`,
      `session_ms` and `session_events` include them.
    - `recent_event_hashes`: eight bytes for each remembered event id, newest last.
      `recent_event_details` has time and type of the same events; the oldest may be missing
      (`operators.shards.duplicates`).
    - `orders`: by the hash of the order id (`operators.shoppers.orders`).
    - `unconverted_micros`: orders less refunds, by currency without a rate; `unconverted_orders` is
      their number.
    - `affinity`: see `operators.shoppers.affinities`. `rule_state`: None without rules.
    - `absence_start_ms`, `returned_ms`: the last event before the last long absence and the first after
      it, 0 for none.
    - `refused`: purposes refused as of the last event. A shopper that refuses analytics has no `events`:
      only the statement is kept.
    - `published_devices`: the devices that Redis names as this user's.

    Stored by position: a new field comes last and has a default.
    """

    known: bool
    first_ms: int
    last_ms: int
    events: int = 0
    views: int = 0
    carts: int = 0
    cart_removes: int = 0
    searches: int = 0
    wishlists: int = 0
    purchases: int = 0
    units: int = 0
    revenue_micros: int = 0
    refunds: int = 0
    refund_micros: int = 0
    first_purchase_ms: int = 0
    last_purchase_ms: int = 0
    viewed_price_micros: int = 0
    viewed_prices: int = 0
    sessions: int = 0
    session_ms: int = 0
    session_events: int = 0
    late: int = 0
    open_sessions: list[Session] = []
    recent_event_hashes: bytes = b""
    orders: dict[bytes, Order] = {}
    affinity: dict[str, float] = {}
    affinity_scale: int = 0
    currency: str = ""
    consent: ConsentStatement = (0, None, None, None)
    rule_state: RuleState | None = None
    absence_start_ms: int = 0
    returned_ms: int = 0
    recent_event_details: bytes = b""
    unconverted_micros: dict[str, int] | None = None
    unconverted_orders: int = 0
    refused: int = 0
    refused_ms: RefusalTimes = (0, 0, 0)
    published_devices: tuple[str, ...] = ()
