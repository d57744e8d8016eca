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
DECISIONS_A_SESSION: Final = 8
_YES, _NO = b"\1", b"\0"

Consents = tuple[int, bool | None, bool | None, bool | None]
"""When it was said (ms), and the answers for analytics, personalization and ads; None is not asked."""

ANALYTICS, PERSONALIZATION, ADS = 1, 2, 4
PURPOSES: Final = {"analytics": ANALYTICS, "personalization": PERSONALIZATION, "ads": ADS}
"""The purposes, as bits of what is refused, in the order of a statement."""
ALL: Final = 7

Refused = tuple[int, int, int]
"""When each purpose was refused last (ms), 0 for never."""


def named(purposes: int) -> str:
    """Purposes by name.

    >>> named(PERSONALIZATION | ADS)
    'personalization,ads'
    """
    return ",".join(name for name, bit in PURPOSES.items() if purposes & bit)


class Session(msgspec.Struct, gc=False, array_like=True):
    """A run of events with no gap above the session gap. Times in ms, inclusive.

    `decided` holds nine bytes for each decision taken in it, whose outcome its end will tell: the
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
    decided: bytes = b""

    def decide(self, mark: bytes) -> None:
        """Remember that a decision was taken; the first few of a session are enough."""
        if len(self.decided) < DECISIONS_A_SESSION * DECISION_BYTES:
            self.decided += mark + bytes((min(self.purchases, 255),))

    def outcomes(self, over_ms: int) -> bytes:
        """Of each decision when the session was over, the mark, and 1 if a purchase came after it."""
        bought, over = self.purchases, over_ms.to_bytes(8, "little", signed=True)
        return b"".join(
            over
            + self.decided[at : at + DECISION_BYTES - 1]
            + (_YES if bought > self.decided[at + DECISION_BYTES - 1] else _NO)
            for at in range(0, len(self.decided), DECISION_BYTES)
        )

    def marks(self) -> list[bytes]:
        """The marks of the events that decisions were taken at."""
        return [
            self.decided[at : at + DECISION_BYTES - 1]
            for at in range(0, len(self.decided), DECISION_BYTES)
        ]

    def absorb(self, other: Session) -> None:
        """Become the one session that both are part of; the other is the later one."""
        if other.decided:
            later = bytearray(other.decided)
            for at in range(DECISION_BYTES - 1, len(later), DECISION_BYTES):
                later[at] = min(later[at] + self.purchases, 255)
            self.decided += later
        self.start_ms = min(self.start_ms, other.start_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.events += other.events
        self.views += other.views
        self.carts += other.carts
        self.purchases += other.purchases
        self.cart_micros = add(self.cart_micros, other.cart_micros)
        self.intent = max(self.intent, other.intent)


NOT_COME, UNTOLD = -1, -2
"""Stand for what an order was worth: only refunds of it came; an older release did not keep it."""


class Order(msgspec.Struct, gc=False, array_like=True):
    """An order that is remembered. Of one that has not come, `at_ms` is when its newest refund did.

    `goods_micros` is what its items cost by their prices. `items` and `refunds` are packed as
    `operators.shoppers.orders` says; `refunds_before` of the refunds are in there as one amount.
    `currency` is ""
    for the shop's, None where only refunds came and none said it.
    """

    at_ms: int
    worth_micros: int = NOT_COME
    units: int = 0
    goods_micros: int = 0
    refunds: bytes = b""
    items: bytes = b""
    refunds_before: int = 0
    currency: str | None = ""

    @property
    def has_come(self) -> bool:
        """Whether it was counted, and not only refunds of it."""
        return self.worth_micros != NOT_COME


class RuleState(msgspec.Struct, gc=False, array_like=True):
    """What segments by rule keep of a shopper. Times in ms.

    `members` is since when it is in which segment; `windows` are those of
    `operators.segments.rules.windows`
    by the digest of what they hold; `latest` is what was said last of device, country and campaign, and
    when. `dues` is when a rule (by digest) has to be looked at again without an event, `due_ms` the
    first of them, 0 for none; `UNSURE` if all have to be, as soon as may be.
    """

    members: dict[str, int] = {}
    windows: dict[int, bytes] = {}
    latest: dict[str, tuple[int, str]] = {}
    dues: dict[int, int] = {}
    due_ms: int = 0


UNSURE: Final = -1


class Shopper(msgspec.Struct, gc=False, array_like=True):
    """Counters since the first event. Changed in place by `operators.shards.processor` and
    `operators.shoppers.profile`.

    `open` are the sessions the watermark has not closed, oldest first; `sessions`, `session_ms` and
    `session_events` count them too. `seen` holds eight bytes for each remembered event id, the newest
    last; `seen_at`, as long or shorter by the oldest, when and what each event was
    (`operators.shards.duplicates`).
    `orders` are by the mark of their id (`operators.shoppers.orders`). `apart` is what orders less
    refunds came
    to by currency where it has no rate, `apart_orders` how many. `affinity` is described in
    `operators.shoppers.affinities`, `rules` is None where there are none; `away_ms` and `returned_ms`
    are the last
    event before the last long absence and the first after it, 0 for none.

    `refused` are the purposes refused as of the last event. Who refuses analytics has no `events`: only
    the statement is kept. `devices` are those that are told in Redis to be this user's.
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
    open: list[Session] = []
    seen: bytes = b""
    orders: dict[bytes, Order] = {}
    affinity: dict[str, float] = {}
    affinity_scale: int = 0
    currency: str = ""
    consent: Consents = (0, None, None, None)
    rules: RuleState | None = None
    away_ms: int = 0
    returned_ms: int = 0
    seen_at: bytes = b""
    apart: dict[str, int] | None = None
    apart_orders: int = 0
    refused: int = 0
    refused_ms: Refused = (0, 0, 0)
    devices: tuple[str, ...] = ()
