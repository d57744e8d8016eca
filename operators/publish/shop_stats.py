"""The shop as a whole: what goes on now, by minute and by hour, how good the data is, what came last."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.tables.time_buckets import History, entry
from state import keys
from state.interactions import CART
from state.money import add, decimal
from state.shopper import PERSONALIZATION
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.publish.counters import Ledger
    from operators.tables.table import Arrays
    from state.interactions import Events, Times
    from state.messages import Visited, Write

EVENTS, SESSIONS, ACTIVE, CARTS, PURCHASES, REVENUE_MICROS = range(6)
HERE_MINUTES = 5
"""Who was seen in this or so many minutes before is here."""
RECENT_ENTRIES = 1000

_KEYS = {"minutes": keys.shop_history_key, "hours": keys.shop_history_hours_key}
_SHOP = 0
_AT_MS = itemgetter(4)


class Shop:
    """Counts over all shoppers, stored with the audience. `heard_ms` is when anything was received last.

    `_seen` counts shoppers by the minute in which each was seen last, of the last few minutes.
    """

    def __init__(self) -> None:
        self.history = History(6)
        self._seen: Counter[int] = Counter()
        self._day = [0, 0, 0]  # day, orders, revenue in millionths
        self._recent = [0, 0]  # the last id: ms, count
        self._sessions = 0
        self.heard_ms = 0

    def see(self, before_ms: Times, at_ms: Times) -> None:
        """Shoppers were active at a time each, and had been seen before at another, 0 for never."""
        later = at_ms // MINUTE_MS > before_ms // MINUTE_MS
        self.history.bump_many(ACTIVE, _SHOP, at_ms[later])
        for minutes, by in ((before_ms[later], -1), (at_ms[later], 1)):
            found, counts = np.unique(minutes // MINUTE_MS, return_counts=True)
            for minute, count in zip(found.tolist(), counts.tolist(), strict=True):
                if by > 0 or minute in self._seen:
                    self._seen[minute] += by * count
        newest = max(self._seen, default=0)
        for minute in [minute for minute in self._seen if minute < newest - 2 * HERE_MINUTES]:
            del self._seen[minute]

    def leave(self, last_ms: int) -> None:
        """A shopper who was seen last at a time is no more."""
        minute = last_ms // MINUTE_MS
        if minute in self._seen:
            self._seen[minute] -= 1

    def hear(
        self, visited: Sequence[Visited], received: Times, clicks: Events, ledger: Ledger
    ) -> None:
        """Count a batch, whose events were received at these times, 0 for what was none."""
        received = received[received > 0]
        self.heard_ms = max(self.heard_ms, int(received.max(initial=0)))
        self.history.bump_many(EVENTS, _SHOP, received)
        opened = ledger.sum_of("sessions_opened")
        if opened != self._sessions:
            self.history.bump(SESSIONS, _SHOP, self.heard_ms, opened - self._sessions)
            self._sessions = opened
        kinds = np.asarray(clicks.kinds, np.int8)
        self.history.bump_many(CARTS, _SHOP, np.asarray(clicks.at_ms, np.int64)[kinds == CART])
        for one in visited:
            for refused, click in one.limited:
                if refused & PERSONALIZATION and click[3] == "cart_add":
                    self.history.bump(CARTS, _SHOP, click[4])
            for _, micros, at_ms in one.orders:
                self._order(1, micros, at_ms)
            for _, micros, at_ms in one.repeats:
                self._order(-1, -micros, at_ms)

    def _order(self, count: int, micros: int, at_ms: int) -> None:
        """Count an order; -1 takes back one that counted twice, from what is not over yet."""
        self.history.bump(PURCHASES, _SHOP, at_ms, count)
        self.history.bump(REVENUE_MICROS, _SHOP, at_ms, micros)
        day = at_ms // DAY_MS
        if day > self._day[0]:
            self._day = [day, 0, 0]
        if day == self._day[0]:
            self._day[1] += count
            self._day[2] = add(self._day[2], micros)

    def recent(self, visited: Sequence[Visited], most: int, now_ms: int) -> list[Write]:
        """The newest of what shoppers did with items in a batch."""
        clicks = [click for one in visited for click in one.clicks]
        clicks += [click for one in visited for _, click in one.limited]
        if not clicks or not most:
            return []
        since_ms = nlargest(most, map(_AT_MS, clicks))[-1]
        clicks = [click for click in clicks if click[4] >= since_ms]
        clicks.sort(key=lambda click: (click[4], click[0]))
        told = [(who, kind, item, at_ms) for _, who, item, kind, at_ms, *_ in clicks[-most:]]
        ms, count = self._recent
        self._recent = [now_ms, 0] if now_ms > ms else [ms, count + 1]
        entry_id = f"{self._recent[0]}-{self._recent[1]}"
        key, text = keys.recent_key(), orjson.dumps(told).decode()
        return [("XADD", key, "MAXLEN", "~", RECENT_ENTRIES, entry_id, "events", text)]

    def figures(
        self, ledger: Ledger, now_ms: int, watermark_ms: int, day: Mapping[str, str | int]
    ) -> list[Write]:
        """What goes on now, what the last `day` came to, the minutes and hours that are over, and how
        good the data is."""
        writes: list[Write] = []
        for unit, at_ms, counts, _ in self.history.finish(now_ms, 1):
            events, sessions, active, carts, purchases, micros = counts[_SHOP].tolist()
            over: dict[str, str | int] = {
                "events": events,
                "sessions": sessions,
                "active": active,
                "carts": carts,
                "purchases": purchases,
                "revenue": decimal(micros),
            }
            writes.append(entry(_KEYS[unit](), unit, at_ms, over))
        counted = ledger.figures()
        rejected, left_out = counted["rejected"], counted["left_out"]
        unconverted, withheld = counted["unconverted"], counted["withheld"]
        assert isinstance(rejected, dict)
        assert isinstance(left_out, dict)
        assert isinstance(unconverted, dict)
        assert isinstance(withheld, dict)
        sums = {name: count for name, count in counted.items() if isinstance(count, int)}
        currency = {"currency": ledger.currency} if ledger.currency else {}
        now: dict[str, str | int] = {
            **self._now(now_ms),
            **currency,
            "sessions_open": sums["sessions_opened"] - sums["sessions_closed"],
            **day,
            "watermark_ms": watermark_ms,
            "late": sums["late"],
            "duplicates": sums["duplicates"],
            "rejected": sum(rejected.values()),
            "unconverted": sum(unconverted.values()),
        }
        quality: dict[str, str | int] = {
            "read": sums["events"],
            "accepted": sums["accepted"],
            "late": sums["late"],
            "duplicates": sums["duplicates"],
            "suppressed": sums["suppressed"],
            "clamped_clocks": ledger.clamped_clocks,
            "saturated": sums["saturated"],
            "held": sums["held"],
            "shortened": sums["shortened"],
            **{f"left_out.{field}": count for field, count in left_out.items()},
            **{f"rejected.{reason}": count for reason, count in rejected.items()},
            **{f"unconverted.{code}": count for code, count in unconverted.items()},
            **{f"withheld.{purpose}": count for purpose, count in withheld.items()},
        }
        for key, fields in ((keys.shop_now_key(), now), (keys.quality_key(), quality)):
            writes.append(("HSET", key, *(part for pair in fields.items() for part in pair)))
        return writes

    def _now(self, now_ms: int) -> dict[str, str | int]:
        minute = now_ms // MINUTE_MS
        table = self.history.tables["minutes"]
        now, before = (
            int(table[at][_SHOP, EVENTS]) if at in table else 0 for at in (minute, minute - 1)
        )
        passed = now_ms % MINUTE_MS / MINUTE_MS
        day, orders, micros = self._day
        if day < now_ms // DAY_MS:
            orders = micros = 0
        here = (count for at, count in self._seen.items() if at >= minute - HERE_MINUTES)
        return {
            "at": now_ms,
            "events_1m": round(now + before * (1 - passed)),
            "active_shoppers": sum(here),
            "revenue_today": decimal(micros),
            "orders_today": orders,
            "aov_today": decimal(micros / max(orders, 1)),
        }

    def small(self) -> Arrays:
        """All of it, to be stored."""
        seen = np.array(list(self._seen.items()), np.int64).reshape(-1, 2)
        last = np.array([*self._day, *self._recent, self._sessions, self.heard_ms])
        return {**self.history.small(), "seen": seen, "last": last}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `small` gave, or nothing from an older release."""
        self.history.restore(arrays)
        if "last" in arrays:
            self._seen = Counter(dict(arrays["seen"].astype(np.int64).tolist()))
            last = arrays["last"].astype(np.int64).tolist()
            self._day, self._recent = last[:3], last[3:5]
            self._sessions, self.heard_ms = last[5:]
