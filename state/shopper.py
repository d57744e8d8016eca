"""A shopper as the flow remembers one: profile counters, open sessions, what was already counted.

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
"""When it was said (ms), and the answers for analytics, personalization and ads; None is not asked."""

ANALYTICS, PERSONALIZATION, ADS = 1, 2, 4
PURPOSES: Final = {"analytics": ANALYTICS, "personalization": PERSONALIZATION, "ads": ADS}
"""The purposes, as bits of what is refused, in the order of a statement."""
ALL_PURPOSES: Final = 7

RefusalTimes = tuple[int, int, int]
"""When each purpose was refused last (ms), 0 for never."""


def purpose_names(purposes: int) -> str:
    """Purposes by name.

    >>> purpose_names(PERSONALIZATION | ADS)
    'personalization,ads'
    """
    return ",".join(name for name, bit in PURPOSES.items() if purposes & bit)


class Session(msgspec.Struct, gc=False, array_like=True):
    """A run of events with no gap above the session gap. Times in ms, inclusive.

    `decisions` holds nine bytes for each decision taken in it, whose outcome its end will tell: the
    mark of the event, and how many purchases there had been by then.
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
        """Remember that a decision was taken; the first few of a session are enough."""
        if len(self.decisions) < DECISIONS_PER_SESSION * DECISION_BYTES:
            self.decisions += event_hash + bytes((min(self.purchases, 255),))

    def decision_outcomes(self, ended_ms: int) -> bytes:
        """Of each decision when the session was over, the mark, and 1 if a purchase came after it."""
        purchases, ended = self.purchases, ended_ms.to_bytes(8, "little", signed=True)
        return b"".join(
            ended
            + self.decisions[offset : offset + DECISION_BYTES - 1]
            + (_YES if purchases > self.decisions[offset + DECISION_BYTES - 1] else _NO)
            for offset in range(0, len(self.decisions), DECISION_BYTES)
        )

    def decision_hashes(self) -> list[bytes]:
        """The marks of the events that decisions were taken at."""
        return [
            self.decisions[offset : offset + DECISION_BYTES - 1]
            for offset in range(0, len(self.decisions), DECISION_BYTES)
        ]

    def merge(self, other: Session) -> None:
        """Become the one session that both are part of; the other is the later one."""
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
"""Stand for what an order was worth: only refunds of it came; an older release did not keep it."""


class Order(msgspec.Struct, gc=False, array_like=True):
    """An order that is remembered. Of one that has not come, `at_ms` is when its newest refund did.

    `goods_micros` is what its items cost by their prices. `items` and `refunds` are packed as
    `operators.shoppers.orders` says; `folded_refunds` of the refunds are in there as one amount.
    `currency` is ""
    for the shop's, None where only refunds came and none said it.
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
        """Whether it was counted, and not only refunds of it."""
        return self.value_micros != ORDER_NOT_SEEN


class RuleState(msgspec.Struct, gc=False, array_like=True):
    """What segments by rule keep of a shopper. Times in ms.

    `members` is since when it is in which segment; `windows` are those of
    `operators.segments.rule_state.windows`
    by the digest of what they hold; `latest_context` is what was said last of device, country and
    campaign, and
    when. `next_check_ms_by_rule` is when a rule (by digest) has to be looked at again without an
    event, `next_check_ms` the
    first of them, 0 for none; `RECHECK_ALL` if all have to be, as soon as may be.
    """

    members: dict[str, int] = {}
    windows: dict[int, bytes] = {}
    latest_context: dict[str, tuple[int, str]] = {}
    next_check_ms_by_rule: dict[int, int] = {}
    next_check_ms: int = 0


RECHECK_ALL: Final = -1


class Shopper(msgspec.Struct, gc=False, array_like=True):
    """Counters since the first event. Changed in place by `operators.shards.processor` and
    `operators.shoppers.profile`.

    `open_sessions` are the sessions the watermark has not closed, oldest first; `sessions`,
    `session_ms` and
    `session_events` count them too. `recent_event_hashes` holds eight bytes for each remembered
    event id, the newest
    last; `recent_event_details`, as long or shorter by the oldest, when and what each event was
    (`operators.shards.duplicates`).
    `orders` are by the mark of their id (`operators.shoppers.orders`). `unconverted_micros` is
    what orders less
    refunds came
    to by currency where it has no rate, `unconverted_orders` how many. `affinity` is described in
    `operators.shoppers.affinities`, `rule_state` is None where there are none; `absence_start_ms`
    and `returned_ms`
    are the last
    event before the last long absence and the first after it, 0 for none.

    `refused` are the purposes refused as of the last event. Who refuses analytics has no `events`: only
    the statement is kept. `published_devices` are those that are told in Redis to be this user's.
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
