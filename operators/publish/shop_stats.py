"""The shop as a whole: what goes on now, by minute and by hour, how good the data is, what came last."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.tables.table import TableState
from operators.tables.time_buckets import TimeBuckets, history_entry
from state import keys
from state.interactions import CART
from state.money import add, format_decimal
from state.shopper import PERSONALIZATION
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.publish.counters import Counters
    from operators.tables.table import Arrays
    from state.arrays import Times
    from state.interactions import EventColumns
    from state.messages import ShardOutput, Write

EVENTS_COLUMN, SESSIONS_COLUMN, ACTIVE_COLUMN, CARTS_COLUMN, PURCHASES_COLUMN, REVENUE_COLUMN = (
    range(6)
)
ACTIVE_MINUTES = 5
"""Who was seen in this or so many minutes before is here."""
RECENT_ENTRIES_MAX = 1000

_HISTORY_KEYS = {"minutes": keys.shop_history_key, "hours": keys.shop_history_hours_key}
_SHOP_ROW = 0
_EVENT_MS = attrgetter("at_ms")
_BY_TIME = attrgetter("at_ms", "position")
_RECENT_FIELDS = attrgetter("shopper", "event_type", "item", "at_ms")


class ShopStats(TableState):
    """Counts over all shoppers, stored with the audience. `last_received_ms` is when anything was
    received last.

    `_active_by_minute` counts shoppers by the minute in which each was seen last, of the last few
    minutes.
    """

    def __init__(self) -> None:
        self.buckets = TimeBuckets(6)
        self._active_by_minute: Counter[int] = Counter()
        self._today = [0, 0, 0]  # day, orders, revenue in millionths
        self._last_entry_id = [0, 0]  # the last id: ms, count
        self._sessions_counted = 0
        self.last_received_ms = 0

    def count_active(self, previous_ms: Times, at_ms: Times) -> None:
        """Count shoppers who were active at these times, and before that last at others (0: never)."""
        is_later_minute = at_ms // MINUTE_MS > previous_ms // MINUTE_MS
        self.buckets.add_many(ACTIVE_COLUMN, _SHOP_ROW, at_ms[is_later_minute])
        counts = self._active_by_minute
        for minute, count in Counter((previous_ms[is_later_minute] // MINUTE_MS).tolist()).items():
            if minute in counts:
                counts[minute] -= count
        # In the order of minutes: they are stored in the order in which they came.
        for minute in sorted((at_ms[is_later_minute] // MINUTE_MS).tolist()):
            counts[minute] += 1
        oldest = max(counts, default=0) - 2 * ACTIVE_MINUTES
        for minute in [minute for minute in counts if minute < oldest]:
            del counts[minute]

    def remove_active(self, last_ms: int) -> None:
        """Remove a shopper, last seen at this time, from those who are active."""
        minute = last_ms // MINUTE_MS
        if minute in self._active_by_minute:
            self._active_by_minute[minute] -= 1

    def count_batch(
        self,
        outputs: Sequence[ShardOutput],
        received_ms: Times,
        interactions: EventColumns,
        ledger: Counters,
    ) -> None:
        """Count a batch, whose events were received at these times; 0 stands for no event."""
        received_ms = received_ms[received_ms > 0]
        self.last_received_ms = max(self.last_received_ms, int(received_ms.max(initial=0)))
        self.buckets.add_many(EVENTS_COLUMN, _SHOP_ROW, received_ms)
        opened_total = ledger.total("sessions_opened")
        if opened_total != self._sessions_counted:
            self.buckets.add(
                SESSIONS_COLUMN,
                _SHOP_ROW,
                self.last_received_ms,
                opened_total - self._sessions_counted,
            )
            self._sessions_counted = opened_total
        kinds = np.asarray(interactions.kinds, np.int8)
        self.buckets.add_many(
            CARTS_COLUMN, _SHOP_ROW, np.asarray(interactions.at_ms, np.int64)[kinds == CART]
        )
        for output in outputs:
            for limited in output.limited_interactions:
                interaction = limited.interaction
                if limited.refused & PERSONALIZATION and interaction.event_type == "cart_add":
                    self.buckets.add(CARTS_COLUMN, _SHOP_ROW, interaction.at_ms)
            for order in output.orders:
                self._count_order(1, order.value_micros, order.at_ms)
            for order in output.double_counted_orders:
                self._count_order(-1, -order.value_micros, order.at_ms)

    def _count_order(self, count: int, micros: int, at_ms: int) -> None:
        """Count an order; -1 takes back one that counted twice, while its minute and hour are open."""
        self.buckets.add(PURCHASES_COLUMN, _SHOP_ROW, at_ms, count)
        self.buckets.add(REVENUE_COLUMN, _SHOP_ROW, at_ms, micros)
        day = at_ms // DAY_MS
        if day > self._today[0]:
            self._today = [day, 0, 0]
        if day == self._today[0]:
            self._today[1] += count
            self._today[2] = add(self._today[2], micros)

    def recent_event_writes(
        self, outputs: Sequence[ShardOutput], limit: int, now_ms: int
    ) -> list[Write]:
        """The command that publishes the newest interactions of a batch."""
        interactions = [interaction for output in outputs for interaction in output.interactions]
        interactions += [
            entry.interaction for output in outputs for entry in output.limited_interactions
        ]
        if not interactions or not limit:
            return []
        since_ms = nlargest(limit, map(_EVENT_MS, interactions))[-1]
        interactions = [
            interaction for interaction in interactions if interaction.at_ms >= since_ms
        ]
        interactions.sort(key=_BY_TIME)
        entries = list(map(_RECENT_FIELDS, interactions[-limit:]))
        ms, count = self._last_entry_id
        self._last_entry_id = [now_ms, 0] if now_ms > ms else [ms, count + 1]
        entry_id = f"{self._last_entry_id[0]}-{self._last_entry_id[1]}"
        key, text = keys.recent_key(), orjson.dumps(entries).decode()
        return [("XADD", key, "MAXLEN", "~", RECENT_ENTRIES_MAX, entry_id, "events", text)]

    def stats_writes(
        self, ledger: Counters, now_ms: int, watermark_ms: int, day: Mapping[str, str | int]
    ) -> list[Write]:
        """What goes on now, what the last `day` came to, the minutes and hours that are over, and how
        good the data is."""
        writes: list[Write] = []
        for unit, at_ms, counts, _ in self.buckets.take_closed(now_ms, 1):
            events, sessions, active, carts, purchases, micros = counts[_SHOP_ROW].tolist()
            closed: dict[str, str | int] = {
                "events": events,
                "sessions": sessions,
                "active": active,
                "carts": carts,
                "purchases": purchases,
                "revenue": format_decimal(micros),
            }
            writes.append(history_entry(_HISTORY_KEYS[unit](), unit, at_ms, closed))
        totals = ledger.totals_by_name()
        rejected, left_out = totals["rejected"], totals["left_out"]
        unconverted, withheld = totals["unconverted"], totals["withheld"]
        assert isinstance(rejected, dict)
        assert isinstance(left_out, dict)
        assert isinstance(unconverted, dict)
        assert isinstance(withheld, dict)
        sums = {name: count for name, count in totals.items() if isinstance(count, int)}
        currency = {"currency": ledger.currency} if ledger.currency else {}
        now: dict[str, str | int] = {
            **self._current_fields(now_ms),
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
            "clamped_clocks": ledger.clamped_events,
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

    def _current_fields(self, now_ms: int) -> dict[str, str | int]:
        minute = now_ms // MINUTE_MS
        table = self.buckets.buckets["minutes"]
        this_minute, previous_minute = (
            int(table[at][_SHOP_ROW, EVENTS_COLUMN]) if at in table else 0
            for at in (minute, minute - 1)
        )
        passed = now_ms % MINUTE_MS / MINUTE_MS
        day, orders, micros = self._today
        if day < now_ms // DAY_MS:
            orders = micros = 0
        active_shoppers = (
            count for at, count in self._active_by_minute.items() if at >= minute - ACTIVE_MINUTES
        )
        return {
            "at": now_ms,
            "events_1m": round(this_minute + previous_minute * (1 - passed)),
            "active_shoppers": sum(active_shoppers),
            "revenue_today": format_decimal(micros),
            "orders_today": orders,
            "aov_today": format_decimal(micros / max(orders, 1)),
        }

    def scalars(self) -> Arrays:
        """The whole state, to be stored."""
        seen = np.array(list(self._active_by_minute.items()), np.int64).reshape(-1, 2)
        last = np.array(
            [*self._today, *self._last_entry_id, self._sessions_counted, self.last_received_ms]
        )
        return {**self.buckets.scalars(), "seen": seen, "last": last}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `scalars` returned; an older release stored nothing."""
        self.buckets.restore(arrays)
        if "last" in arrays:
            self._active_by_minute = Counter(dict(arrays["seen"].astype(np.int64).tolist()))
            last = arrays["last"].astype(np.int64).tolist()
            self._today, self._last_entry_id = last[:3], last[3:5]
            self._sessions_counted, self.last_received_ms = last[5:]
