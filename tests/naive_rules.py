"""A naive model of rules: for every moment it evaluates the whole list of a shopper's events again.

Written from docs/segments.md; it uses nothing of `operators.segments.rules`. An answer can change
only where an event comes, or where as much time has passed since an event as a rule mentions. So
these moments are evaluated, and some minutes more.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import yaml

from tests.naive_conditions import (
    ITEM_FILTERS,
    SPANS_MS,
    consented,
    context,
    fits,
    given_back,
    in_items,
    is_in,
    item_fits,
    of_item,
    span,
    worth,
)

if TYPE_CHECKING:
    from state.events import Event


DAY_MS = 86_400_000
MINUTE_MS = 60_000


IN_CART = {"cart_add": 1, "cart_remove": -1, "purchase": -1}
INTENTS = ["browsing", "considering", "cart", "checkout", "bought"]
INTENT_OF = {
    "item_view": 1,
    "wishlist_add": 1,
    "reco_click": 1,
    "cart_add": 2,
    "checkout_start": 3,
    "purchase": 4,
}
Change = tuple[str, str, bool, int]


@dataclass
class Visit:
    start_ms: int
    last_ms: int
    events: list[Event]


@dataclass
class Person:
    known: bool
    events: list[Event] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    now_ms: int = 0
    members: set[str] = field(default_factory=set)
    repeated: list[Event] = field(default_factory=list)
    """Events that another shopper, who is the same person, had too: they were seen and do not count."""

    @property
    def seen(self) -> list[Event]:
        return self.events + self.repeated


class Naive:
    """A shop in which events arrive one after the other; `changes` are the transitions."""

    def __init__(self, rules: str, *, gap_ms: int, lateness_ms: int) -> None:
        self.rules: dict[str, Any] = {
            sid: rule["when"] for sid, rule in yaml.load(rules, yaml.BaseLoader).items()
        }
        self.gap_ms, self.lateness_ms = gap_ms, lateness_ms
        self.people: dict[str, Person] = {}
        self.users: dict[str, str] = {}
        self.changes: list[Change] = []
        self.gone: set[str] = set()
        self.erased_ms: dict[str, int] = {}
        self.newest_ms = 0
        self.spans = {sid: self._spans(sid) for sid in self.rules}

    def _spans(self, sid: str) -> set[int]:
        """How long after an event the answer of a rule may change."""
        text = str(self.rules[sid])
        numbers = re.findall(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)\b", text)
        spans = {int(float(number) * SPANS_MS[unit]) for number, unit in numbers}
        for bounds in re.findall(r"_days ([^']*)", text):
            spans |= {int(float(number) * DAY_MS) for number in re.findall(r"[\d.]+", bounds)}
        if "session_" in text or "intent" in text:
            spans.add(self.gap_ms)
        for other in re.findall(r"'segment': '([^']*)'", text):
            spans |= self._spans(other)
        return spans | {span + 1 for span in spans}

    def arrive(self, event: Event) -> None:
        """An event is read."""
        clock_ms, watermark_ms = self.newest_ms, max(0, self.newest_ms - self.lateness_ms)
        self.newest_ms = max(self.newest_ms, min(event.event_ts, event.received_ts))
        if event.type == "erase":
            self._erase(event)
            return
        if self._is_erased(event):
            return
        name = self._who(event, clock_ms, watermark_ms)
        person = self.people.setdefault(name, Person(event.user_id == name))
        same_order = {e.order_id for e in person.events if e.type == "purchase"}
        if any(e.event_id == event.event_id for e in person.seen) or (
            event.type == "purchase" and event.order_id in same_order
        ):
            return
        at_ms = event.event_ts
        self._advance(name, max(clock_ms, at_ms - 1))
        person.events.append(event)
        self._visit(person, event, watermark_ms)
        self._evaluate(name, max(person.now_ms, clock_ms, at_ms))

    def end(self) -> None:
        """Everything has been read."""
        for name in sorted(self.people):
            self._advance(name, self.newest_ms)

    def _who(self, event: Event, clock_ms: int, watermark_ms: int) -> str:
        device, user = event.anonymous_id, event.user_id
        if user is None:
            assert device is not None
            return self.users.get(device, device)
        if device is not None and self.users.get(device) != user:
            is_first = device not in self.users
            self.users[device] = user
            if is_first and device in self.people:
                self._merge(device, user, max(event.event_ts, watermark_ms), clock_ms)
        return user

    def _is_erased(self, event: Event) -> bool:
        """Whether an event is from before the erasure of its device or of its user."""
        ids = (event.anonymous_id, event.user_id)
        return any(self._is_covered(name or "", event.event_ts) for name in ids)

    def _is_covered(self, name: str, at_ms: int) -> bool:
        return at_ms <= self.erased_ms.get(name, 0)

    def _erase(self, event: Event) -> None:
        """Erase a user and its devices, or a device alone: its user stays. A repeat does nothing."""
        device, user, at_ms = event.anonymous_id, event.user_id, event.event_ts
        names = {device} if device is not None else set()
        if user is not None and not self._is_covered(user, at_ms):
            names |= {user, *(device for device, owner in self.users.items() if owner == user)}
        names = {name for name in names if not self._is_covered(name, at_ms)}
        for name in names:
            self.erased_ms[name] = max(event.event_ts, self.erased_ms.get(name, 0))
            self.users.pop(name, None)
            self.people.pop(name, None)
            self.gone.add(name)

    def _merge(self, device: str, user: str, at_ms: int, clock_ms: int) -> None:
        other = self.people.pop(device)
        self.gone.add(device)
        person = self.people.setdefault(user, Person(True))
        last_ms = max(e.event_ts for e in other.seen)
        self._advance(user, max(clock_ms, last_ms - 1))
        drop_later_copies(person, other)
        person.events += other.events
        person.repeated += other.repeated
        visits: list[Visit] = []
        ended = []
        for visit in sorted(person.visits + other.visits, key=lambda v: v.start_ms):
            if visit.last_ms + self.gap_ms < at_ms:
                ended.append(visit)
            elif visits and visit.start_ms <= visits[-1].last_ms + self.gap_ms:
                visits[-1].last_ms = max(visits[-1].last_ms, visit.last_ms)
                visits[-1].events += visit.events
            else:
                visits.append(visit)
        person.visits = ended + visits
        self._evaluate(user, max(person.now_ms, clock_ms, *(e.event_ts for e in person.seen)))

    def _visit(self, person: Person, event: Event, watermark_ms: int) -> None:
        at_ms, gap_ms = event.event_ts, self.gap_ms
        near = [
            visit
            for visit in person.visits
            if visit.start_ms - gap_ms <= at_ms <= visit.last_ms + gap_ms
            and visit.last_ms + gap_ms >= watermark_ms
        ]
        if not near and at_ms < watermark_ms:
            return
        joined = Visit(at_ms, at_ms, [event])
        for visit in near:
            person.visits.remove(visit)
            joined.start_ms = min(joined.start_ms, visit.start_ms)
            joined.last_ms = max(joined.last_ms, visit.last_ms)
            joined.events += visit.events
        person.visits.append(joined)

    def _advance(self, name: str, to_ms: int) -> None:
        """Time passes for one shopper."""
        person = self.people[name]
        if to_ms <= person.now_ms:
            return
        if person.events:
            from_ms, moments = person.now_ms, set()
            for sid, spans in self.spans.items():
                for at_ms in {e.event_ts + span for e in person.seen for span in spans}:
                    if from_ms < at_ms <= to_ms:
                        moments.add((at_ms, sid))
            whole = range(from_ms // MINUTE_MS + 1, to_ms // MINUTE_MS)
            for minute in random.Random(from_ms).sample(whole, min(len(whole), 3)):
                moments |= {(minute * MINUTE_MS, sid) for sid in self.rules}
            for at_ms, sid in sorted(moments):
                self._evaluate(name, at_ms, sid)
        person.now_ms = to_ms

    def _evaluate(self, name: str, now_ms: int, *segment_ids: str) -> None:
        person = self.people[name]
        person.now_ms = now_ms
        for sid in segment_ids or self.rules:
            inside = self.holds(self.rules[sid], sid, name, person, now_ms)
            if inside != (sid in person.members):
                (person.members.add if inside else person.members.remove)(sid)
                self.changes.append((name, sid, inside, now_ms))

    def holds(self, when: Any, sid: str, name: str, person: Person, now_ms: int) -> bool:
        """Whether a condition is true of a shopper at a moment."""
        if isinstance(when, str):
            return self._compare(when, person, now_ms)
        if "all" in when:
            return all(self.holds(one, sid, name, person, now_ms) for one in when["all"])
        if "any" in when:
            return any(self.holds(one, sid, name, person, now_ms) for one in when["any"])
        if "not" in when:
            return not self.holds(when["not"], sid, name, person, now_ms)
        if "segment" in when:
            other = when["segment"]
            return self.holds(self.rules[other], other, name, person, now_ms)
        if "holdout" in when:
            salted = when.get("salt", sid).encode() + b"\0" + name.encode()
            place = int.from_bytes(blake2b(salted, digest_size=8).digest(), "big") % 1_000_000
            return place < float(when["holdout"].rstrip(" %")) * 10_000
        if "no" in when:
            return self._absent(when, person, now_ms)
        if "sequence" in when:
            return self._follows(when, person, now_ms)
        return self._amount(when, person, now_ms)

    def _amount(self, when: dict[str, Any], person: Person, now_ms: int) -> bool:
        within_ms = span(when["within"]) if "within" in when else now_ms + 1
        measure = next((m for m in when if m.startswith(("count", "distinct", "sum of"))), "")
        kinds = when["event"]
        if measure == "sum of net value":
            kinds = [kinds, "refund"]
        found = [
            e
            for e in person.events
            if now_ms - within_ms < e.event_ts <= now_ms and fits(e, kinds, when)
        ]
        if not measure:
            return bool(found)
        if measure == "count":
            number: float = len(found)
        elif measure == "distinct days":
            number = len({e.event_ts // DAY_MS for e in found})
        else:
            items = [item for e in found for item in e.items if item_fits(item, when)]
            if measure == "distinct items":
                number = len({item.item_id for item in items})
            elif measure == "distinct categories":
                number = len({item.category for item in items if item.category})
            elif measure == "distinct brands":
                number = len({item.brand for item in items if item.brand})
            elif measure == "sum of quantity":
                number = sum(item.quantity for item in items)
            elif any(name in when for name in ITEM_FILTERS):
                number = sum(round((item.price or 0) * 1e6) * item.quantity for item in items) / 1e6
            else:
                given = given_back(person.events)
                number = sum(-given[id(e)] if e.type == "refund" else worth(e) for e in found) / 1e6
        return is_in(number, when[measure])

    def _absent(self, when: dict[str, Any], person: Person, now_ms: int) -> bool:
        kinds = when["no"]
        text = when.get("within") or when.get("for")
        since_ms = now_ms - span(text) if text else -1
        if any(fits(e, kinds, when) and e.event_ts > since_ms for e in person.events):
            return False
        return "for" not in when or min(e.event_ts for e in person.seen) <= since_ms

    def _follows(self, when: dict[str, Any], person: Person, now_ms: int) -> bool:
        if "same" in when:
            items = {item.item_id for e in person.events for item in e.items}
            return any(self._follows(of_item(when, item), person, now_ms) for item in items)
        steps = when["sequence"]
        since_ms = now_ms - span(when["within"])

        def chains(at_ms: int, rest: list[dict[str, Any]]) -> bool:
            if not rest:
                return True
            step = rest[0]
            if "then no" in step:
                if now_ms - at_ms < span(step["within"]):
                    return False
                return not any(
                    e.event_ts >= at_ms and fits(e, step["then no"], step) for e in person.events
                )
            latest_ms = at_ms + span(step["within"]) if "within" in step else now_ms
            return any(
                at_ms < e.event_ts <= latest_ms
                and fits(e, step["then"], step)
                and chains(e.event_ts, rest[1:])
                for e in person.events
            )

        return any(
            e.event_ts > since_ms
            and fits(e, steps[0]["event"], steps[0])
            and chains(e.event_ts, steps[1:])
            for e in person.events
        )

    def _compare(self, text: str, person: Person, now_ms: int) -> bool:
        name, _, comparison = text.partition(" ")
        value = self._feature(name, person, now_ms)
        if comparison.startswith("is "):
            opposite = comparison.startswith("is not ")
            wanted = comparison.removeprefix("is ").removeprefix("not ").removeprefix("one of ")
            return (value in wanted.split(", ")) != opposite
        return value is not None and is_in(value, comparison)

    def _intent(self, person: Person, now_ms: int) -> str:
        visit = max(person.visits, key=lambda v: v.last_ms, default=None)
        if visit is None or visit.last_ms + self.gap_ms < now_ms:
            return ""
        return INTENTS[max(INTENT_OF.get(e.type, 0) for e in visit.events)]

    def _feature(self, name: str, person: Person, now_ms: int) -> Any:
        events = person.events
        orders = [e for e in events if e.type == "purchase"]
        revenue = sum(worth(e) for e in orders)
        counted = {"views": "item_view", "carts": "cart_add", "searches": "search"}
        if name in counted:
            return sum(e.type == counted[name] for e in events)
        if name.startswith("session_"):
            visit = max(person.visits, key=lambda v: v.last_ms, default=None)
            if visit is None or visit.last_ms + self.gap_ms < now_ms:
                return None
            if name == "session_minutes":
                return (visit.last_ms - visit.start_ms) / MINUTE_MS
            if name == "session_cart_value":
                return max(0, sum(IN_CART.get(e.type, 0) * in_items(e) for e in visit.events)) / 1e6
            kinds = {"session_views": "item_view", "session_carts": "cart_add"}
            kinds["session_purchases"] = "purchase"
            return sum(e.type == kinds.get(name, e.type) for e in visit.events)
        features: dict[str, Any] = {
            "events": len(events),
            "purchases": len(orders),
            "revenue": revenue / 1e6,
            "refunded": sum(given_back(events).values()) / 1e6,
            "intent": self._intent(person, now_ms),
            "aov": revenue // len(orders) / 1e6 if orders else None,
            "sessions": len(person.visits),
            "first_seen_days": (now_ms - min(e.event_ts for e in person.seen)) / DAY_MS,
            "last_seen_days": (now_ms - max(e.event_ts for e in person.seen)) / DAY_MS,
            "recency_days": (now_ms - max(e.event_ts for e in orders)) / DAY_MS if orders else None,
            "known": "yes" if person.known else "no",
            "consent.ads": consented(events),
        }
        if name in features:
            return features[name]
        values = [(e.event_ts, value) for e in person.seen if (value := context(e, name))]
        return max(values)[1] if values else ""


def drop_later_copies(person: Person, other: Person) -> None:
    """Of an order that both have, keep the copy that happened first."""
    for mine in [e for e in person.events if e.type == "purchase"]:
        for theirs in [e for e in other.events if e.type == "purchase"]:
            if mine.order_id == theirs.order_id:
                later = (mine.event_ts, -worth(mine)) > (theirs.event_ts, -worth(theirs))
                owner, lost = (person, mine) if later else (other, theirs)
                owner.events.remove(lost)
                owner.repeated.append(lost)
                for visit in owner.visits:
                    visit.events = [e for e in visit.events if e is not lost]
                owner.visits = [visit for visit in owner.visits if visit.events]
