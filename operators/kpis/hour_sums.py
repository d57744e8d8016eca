"""The facts of shoppers and the sums by scope and hour, with what changed since the last snapshot.

Sums are corrected as long as their hour is kept; a correction of an older hour is booked on the current
one, and counted there as a late correction.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from operators.kpis.attribution import WHOLE_SHOP, Windows, contributions
from state.kpis import FIGURES, REFUND, KpiRecord
from state.money import add
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.kpis.attribution import Key
    from state.config import Kpis
    from state.kpis import Fact, Sums

FACTS_MAX = 32
"""Facts of each kind that are kept of a shopper, the newest."""
OTHER = "other"
"""The scope of all that are over the limit."""
DAY_HOURS = 24
_LATE = FIGURES.index("late_corrections")
_BY_TIME = attrgetter("at_ms", "event_hash")


class HourSums:
    """Facts and sums. Changes its state in place."""

    def __init__(self, config: Kpis, record: KpiRecord) -> None:
        self.facts = record.facts
        self.sums = record.sums
        self.changed_shoppers: set[str] = set()
        self.changed_hours: set[Key] = set()
        self._windows = Windows.from_config(config)
        self._scopes_max = config.scopes_max
        self._kept_hours = config.correct_days * DAY_HOURS + DAY_HOURS
        self._kept_ms = (config.direct_days + config.correct_days) * DAY_MS

    def apply(
        self,
        added: dict[str, list[Fact]],
        merged: Iterable[tuple[str, str]],
        erased: dict[str, int],
        now_ms: int,
    ) -> list[Key]:
        """Take in the facts of a batch, who was merged into whom, and who was erased at what time.

        The sums that changed, as scope and hour.
        """
        into = dict(merged)
        names = {*added, *into, *into.values(), *erased}
        before = {name: self.facts.get(name, []) for name in sorted(names)}
        after = {name: [*facts, *added.get(name, ())] for name, facts in before.items()}
        for name, at_ms in erased.items():
            after[name] = [fact for fact in after[name] if fact.at_ms > at_ms]
        for name, user in into.items():
            if name != user:
                after[user] = [*after[user], *after[name]]
                after[name] = []
        touched: set[Key] = set()
        for name in before:
            facts = list({fact.event_hash: fact for fact in after[name]}.values())
            touched.update(self._replace(name, before[name], facts, now_ms))
        return sorted(touched)

    def drop_old(self, now_ms: int) -> None:
        """Drop the sums of hours that are corrected no more."""
        oldest = now_ms // HOUR_MS - self._kept_hours
        for scope, hours in self.sums.items():
            for hour in [hour for hour in hours if hour < oldest]:
                del hours[hour]
                self.changed_hours.add((scope, hour))

    def drop_old_facts(self, now_ms: int) -> None:
        """Drop the facts of shoppers that count no more, since nothing may follow from them."""
        since_ms = now_ms - self._kept_ms
        for name in [
            name for name, facts in self.facts.items() if max(map(_TIME, facts)) < since_ms
        ]:
            del self.facts[name]
            self.changed_shoppers.add(name)

    def changes(self) -> KpiRecord:
        """What changed since the last call."""
        record = KpiRecord({name: self.facts.get(name, []) for name in self.changed_shoppers})
        for scope, hour in self.changed_hours:
            sums = self.sums.get(scope, {}).get(hour, [])
            record.sums.setdefault(scope, {})[hour] = sums
        self.changed_shoppers.clear()
        self.changed_hours.clear()
        return record

    def records(self) -> Iterator[KpiRecord]:
        """All facts and sums, in records of some size."""
        yield KpiRecord(sums=self.sums)
        names = list(self.facts)
        for first in range(0, len(names), 1000):
            yield KpiRecord({name: self.facts[name] for name in names[first : first + 1000]})

    def _replace(
        self, name: str, before: list[Fact], facts: list[Fact], now_ms: int
    ) -> Iterator[Key]:
        if len(facts) == len(before) and facts == before:
            return
        difference = contributions(facts, self._windows)
        for key, sums in contributions(before, self._windows).items():
            gained = difference.get(key, _NOTHING)
            difference[key] = [more - less for more, less in zip(gained, sums, strict=True)]
        for (scope, hour), sums in sorted(difference.items()):
            if any(sums):
                yield self._book(scope, hour, sums, now_ms // HOUR_MS)
        self.changed_shoppers.add(name)
        kept = self._kept(facts, now_ms)
        if kept:
            self.facts[name] = kept
        else:
            self.facts.pop(name, None)

    def _kept(self, facts: list[Fact], now_ms: int) -> list[Fact]:
        """The facts that are kept: the newest of each kind, of the time in which they count."""
        since_ms = now_ms - self._kept_ms
        by_kind: list[list[Fact]] = [[] for _ in range(REFUND + 1)]
        for fact in sorted(facts, key=_BY_TIME):
            if fact.at_ms >= since_ms:
                by_kind[fact.kind].append(fact)
        return [fact for kind in by_kind for fact in kind[-FACTS_MAX:]]

    def _book(self, scope: str, hour: int, amounts: Sums, current: int) -> Key:
        if scope not in self.sums and len(self.sums) >= self._scopes_max:
            scope = OTHER
        if hour < current - self._kept_hours:
            hour, amounts = current, list(amounts)
            amounts[_LATE] += scope == WHOLE_SHOP
        hours = self.sums.setdefault(scope, {})
        hours[hour] = list(map(add, hours.get(hour, _NOTHING), amounts))
        self.changed_hours.add((scope, hour))
        return scope, hour


def read_record(records: Iterable[KpiRecord]) -> KpiRecord:
    """The facts and sums after all records of a journal."""
    whole = KpiRecord({}, {})
    for record in records:
        whole.facts.update(record.facts)
        for scope, hours in record.sums.items():
            whole.sums.setdefault(scope, {}).update(hours)
    whole.facts = {name: facts for name, facts in whole.facts.items() if facts}
    whole.sums = {
        scope: {hour: sums for hour, sums in hours.items() if sums}
        for scope, hours in whole.sums.items()
    }
    return whole


_TIME = attrgetter("at_ms")
_NOTHING = [0] * len(FIGURES)
