"""The fold at the heart of the flow: one shard's events into shoppers, sessions and profiles.

It runs twice: by device, where anonymous shoppers live and users are recognised, and by user. Hot: it
changes its state in place. What it counts does not depend on how events were cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from operators.events.processing_errors import ENDS_THE_RUN, Faults
from operators.segments.propensity.decision_times import ticks_between
from operators.segments.rules.engine import engine_of
from operators.shards import consent, duplicates, outcomes
from operators.shards.consent import Policy
from operators.shards.retractions import Parting
from operators.shoppers import inactivity, orders, profile, sessions
from operators.shoppers.affinities import DecayedCounts
from operators.shoppers.features import feature_row
from operators.tables.idle_index import Idle
from operators.tables.timers import Timers
from state import keys, resp
from state.config import Privacy, Propensity, Recovery
from state.messages import BatchId, Heard, Totals, Visited
from state.money import LARGEST, MICROS, is_full, micros
from state.shopper import ANALYTICS, PERSONALIZATION, Shopper
from state.snapshots import RulesState
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from operators.segments.rules.compiler import RuleSet
    from state.config import Lifecycle, Profiles, Sessions, State
    from state.events import Event
    from state.messages import Move, Told, Transition
    from state.shopper import Session

TASTE_TYPES = frozenset({"item_view", "cart_add", "purchase", "wishlist_add"})
"""Events that learners learn from."""

SIGNAL_TYPES = frozenset({"cart_remove", "refund", "reco_view", "reco_click"})
"""Events that say what came of items."""

MONEY_TYPES = frozenset({"cart_add", "cart_remove", "purchase", "refund"})
"""Events whose amounts are added up."""

_TOLD_TYPES = TASTE_TYPES | SIGNAL_TYPES

DEVICES_MAX = 64
"""Devices of a user that are remembered, the newest; of others Redis forgets whose they are in time."""

_ID_BYTES = 8
_SESSION_KEY_SPARE_MS = 60_000
_DEL, _HDEL = resp.bulk("DEL"), resp.bulk("HDEL")
_EXPIRE, _PEXPIRE = resp.bulk("EXPIRE"), resp.bulk("PEXPIRE")
_CHANCE = resp.bulk("p_buy_session")


@dataclass(frozen=True)
class Rules:
    """The settings of the fold, in the units it works in."""

    gap_ms: int
    lateness_ms: int
    remembered_bytes: int
    remembered_orders_ms: int
    session_ttl_ms: int
    known_ttl_s: int
    anonymous_ttl_s: int
    alias_ttl_s: int
    rows_max: int
    idle_ms: int
    known_idle_ms: int
    absence_ms: int
    tastes: DecayedCounts
    segments: RuleSet | None
    decided_of_256: int
    decision_ticks: int
    shards: int
    tombstone_ms: int
    clean_every_ms: int
    privacy_key: bytes
    consent: Policy

    @classmethod
    def of(
        cls,
        sessions: Sessions,
        profiles: Profiles,
        state: State,
        lifecycle: Lifecycle,
        segments: RuleSet | None = None,
        propensity: Propensity | None = None,
        privacy: Privacy | None = None,
        recovery: Recovery | None = None,
        privacy_key: bytes = b"",
    ) -> Rules:
        """The rules that a configuration sets, and `segments` that are decided by rule.

        `propensity` says at which events and times models are to say what will come; None: at none.
        `privacy_key` is the secret under which erased ids are hashed.
        """
        asked = propensity or Propensity(sampled_share=0.0, horizon_days=0)
        return cls(
            gap_ms=sessions.gap_ms,
            lateness_ms=sessions.allowed_lateness_ms,
            remembered_bytes=sessions.remembered_event_ids * _ID_BYTES,
            remembered_orders_ms=sessions.remembered_orders_days * DAY_MS,
            session_ttl_ms=sessions.gap_ms + _SESSION_KEY_SPARE_MS,
            known_ttl_s=profiles.known_ttl_days * 86_400,
            anonymous_ttl_s=profiles.anonymous_ttl_days * 86_400,
            alias_ttl_s=profiles.alias_ttl_days * 86_400,
            rows_max=max(1, state.shoppers_max // sessions.shards),
            idle_ms=state.idle_days * DAY_MS,
            known_idle_ms=state.known_idle_days * DAY_MS,
            absence_ms=lifecycle.dormant_days * DAY_MS,
            tastes=DecayedCounts(
                profiles.affinity_half_life_days * DAY_MS, profiles.affinity_categories_max
            ),
            segments=segments,
            decided_of_256=round(asked.sampled_share * 256),
            decision_ticks=ticks_between(asked),
            shards=sessions.shards,
            tombstone_ms=(privacy or Privacy()).tombstone_days * DAY_MS,
            clean_every_ms=(recovery or Recovery()).checkpoint_s * 1000,
            privacy_key=privacy_key,
            consent=Policy(privacy or Privacy()),
        )


class Shoppers:
    """The shoppers of one shard, and what happened to them in the batch at hand.

    `changed` are the names whose rows a snapshot has to write or take out.
    """

    def __init__(
        self,
        rules: Rules,
        rows: dict[str, Shopper],
        totals: Totals,
        stored: RulesState | None = None,
        *,
        step: str = "visit",
    ) -> None:
        self.faults = Faults(step)
        self.changed: set[str] = set()
        self.idle = Idle(HOUR_MS)
        self.rules = rules
        self.rows = rows
        self.totals = totals
        self._session_ttl = resp.number(rules.session_ttl_ms)
        self._known_ttl = resp.number(rules.known_ttl_s)
        self._anonymous_ttl = resp.number(rules.anonymous_ttl_s)
        self._due = Timers()
        self.segments = engine_of(rules.segments, stored or RulesState())
        if self.segments is not None:
            self.segments.faults = self.faults
        self._is_only = False
        self._now_ms = 0
        for name, shopper in rows.items():
            self.idle.add(name, shopper.last_ms)
            if self.segments is not None:
                self.segments.follow(name, shopper)
            for session in shopper.open:
                self._due.add(session.last_ms + rules.gap_ms, name)
        # With the time each was last seen at before the batch; -1 for who is new.
        self._active: dict[str, int] = {}
        self._told: dict[str, Told] = {}
        self._back: list[str] = []
        self._parting = Parting()
        self._denies = rules.consent.denies
        self._hidden: set[str] = set()
        self.refusing: list[str] = []
        """Who refuses analytics now, and whose row may wait in Redis."""
        self.out = Visited(BatchId("", 0), 0, 0, last=False)

    def begin(self, batch: BatchId, shard: int, watermark_ms: int, *, last: bool) -> None:
        """Start on a batch: the sessions that no event in time can reach any more are closed."""
        self.out = Visited(batch, shard, watermark_ms, last=last)
        gap_ms = self.rules.gap_ms
        self._is_only, self._now_ms = batch.partitions == 1, watermark_ms
        if self.segments is not None:
            self.segments.transitions = self.out.transitions
            # Before sessions are closed: what was so at a time, was so while they were open.
            now_ms = self._clock(watermark_ms)
            if self.segments.settle(self.rows, now_ms):
                self.changed.update(self.rows)
            self.changed.update(self.segments.due(self.rows, now_ms))
        ended: list[tuple[int, str, Shopper]] = []
        for name in self._due.due(watermark_ms):
            shopper = self.rows.get(name)
            if shopper is not None and shopper.open:
                ends_ms = self._first_end_ms(shopper)
                if ends_ms < watermark_ms:
                    ended.append((ends_ms, name, shopper))
                else:
                    self._due.add(ends_ms, name)
        ended.sort()
        for _, name, shopper in ended:
            closed = sessions.close(shopper, watermark_ms, gap_ms=gap_ms)
            self.totals.sessions_closed += len(closed)
            with self.faults.apart("outcomes", name):
                self.out.outcomes += [
                    one.outcomes(one.last_ms + gap_ms) for one in closed if one.decided
                ]
            self.changed.add(name)
            if shopper.open:
                self._due.add(self._first_end_ms(shopper), name)
            else:
                self.out.writes.append(resp.command(_DEL + resp.bulk(keys.session_key(name)), 2))
                if self.rules.decided_of_256:
                    profile_key = resp.bulk(keys.profile_key(name))
                    self.out.writes.append(resp.command(f"{_HDEL}{profile_key}{_CHANCE}", 3))

    def _first_end_ms(self, shopper: Shopper) -> int:
        """The last time at which an event would still belong to the one that ends first."""
        first, *others = shopper.open
        last_ms = min(first.last_ms, *[one.last_ms for one in others]) if others else first.last_ms
        return last_ms + self.rules.gap_ms

    def fold(self, name: str, event: Event, position: int, clock_ms: int, *, known: bool) -> bool:
        """Count one event of a shopper; False if it had been counted before, or is withheld."""
        at_ms, kind = event.event_ts, event.type
        shopper = self.rows.get(name)
        refused = 0
        if shopper is None or shopper.consent[0] or event.consent is not None or self._denies:
            refused, shopper = self._meet(name, shopper, event, known=known)
            if shopper is None:
                return False
        mark, seen = orders.mark_of(event.event_id), shopper.seen
        if (mark in seen and _is_marked(mark, seen)) or (
            kind == "purchase" and self._is_counted(shopper, event)
        ):
            self.totals.duplicates += 1
            return False
        most = self.rules.remembered_bytes
        shopper.seen = (seen + mark)[-most:]
        shopper.seen_at = (shopper.seen_at + duplicates.when_and_what(at_ms, kind))[-most:]
        self.totals.accepted += 1
        self._active.setdefault(name, shopper.last_ms)
        ended = False
        if self.segments is not None:
            now_ms = self._clock(clock_ms)
            ended = not self.segments.reach(name, shopper, now_ms, at_ms)
        if at_ms < clock_ms:
            shopper.late += 1
            self.totals.late += 1
        self._hear(name, shopper, event, clock_ms, refused)
        inactivity.hear(shopper, at_ms, self.rules.absence_ms)
        before = shopper.sessions
        session = sessions.enter(shopper, at_ms, gap_ms=self.rules.gap_ms, clock_ms=clock_ms)
        if shopper.sessions != before:
            self.totals.sessions_opened += shopper.sessions - before
            if session is not None and shopper.sessions > before:
                self._due.add(session.last_ms + self.rules.gap_ms, name)
        profile.count(shopper, session, event)
        if kind in MONEY_TYPES:
            event = self._count_money(shopper, session, event, mark)
        if mark[0] < self.rules.decided_of_256 and not refused & PERSONALIZATION:
            self._decide(mark, shopper, session, clock_ms)
        if kind in _TOLD_TYPES:
            self._tell(name, shopper, event, position, session, refused)
        if self.segments is not None:
            # A late event may also bring a session back that had ended.
            begins = ended or shopper.sessions != before
            self.segments.count(name, shopper, event, now_ms, begins=begins)
        return True

    def _meet(
        self, name: str, shopper: Shopper | None, event: Event, *, known: bool
    ) -> tuple[int, Shopper | None]:
        """What somebody new, or who said so, refuses; None for a shopper whose event is withheld."""
        if event.consent is None and not self._denies and shopper is None:
            return 0, self.begin_shopper(name, event.event_ts, known=known)
        refused = consent.heed(self, name, event, known=known)
        return refused, None if refused & ANALYTICS else self.rows[name]

    def begin_shopper(self, name: str, at_ms: int, *, known: bool) -> Shopper:
        """Somebody new, or of whom only a refusal was known."""
        shopper = self.rows[name] = Shopper(known, at_ms, at_ms)
        self.totals.shoppers += 1
        self._active[name] = -1
        return shopper

    def _tell(
        self,
        name: str,
        shopper: Shopper,
        event: Event,
        position: int,
        session: Session | None,
        refused: int,
    ) -> None:
        """Tell what an event says of tastes, prices and items, for what the shopper does not refuse."""
        at_ms, kind = event.event_ts, event.type
        if kind in SIGNAL_TYPES:
            if not refused & PERSONALIZATION:
                self._signal(name, event, position)
            return
        session_ms = at_ms if session is None else session.start_ms
        clicks, tastes, currency = self.out.clicks, self.rules.tastes, profile.price_currency(event)
        country = event.country or ""
        for item in event.items:
            category = "/".join(item.category)
            click = (position, name, item.item_id, kind, at_ms, session_ms, category, country)
            if not refused:
                clicks.append(click)
            else:
                self.out.limited.append((refused, click))
            # One whose price is apart says less of the item than one before it.
            if not refused & PERSONALIZATION and (
                event.apart is None or item.item_id not in self._told
            ):
                self._told[item.item_id] = (at_ms, item, currency)
            if category:
                tastes.add(shopper, category, at_ms)
            if item.price is not None and kind == "item_view":
                price = shopper.viewed_price_micros + micros(item.price)
                shopper.viewed_price_micros = price if price < LARGEST else LARGEST
                shopper.viewed_prices += 1
        if kind == "purchase":
            self.out.orders.append((name, profile.value_micros(event), at_ms))

    def _signal(self, name: str, event: Event, position: int) -> None:
        """Tell what came of items: given back, shown, clicked in a list."""
        of_list = event.reco and event.reco.position
        for number, item in enumerate(event.items, start=1):
            place = item.position or (of_list if len(event.items) == 1 else None) or number
            self.out.signals.append(
                (position, name, item.item_id, event.type, event.event_ts, place - 1)
            )

    def _clock(self, watermark_ms: int) -> int:
        """The newest event time that all have reached, where that of one event is known."""
        watermark_ms = self._watermark(watermark_ms)
        return watermark_ms and watermark_ms + self.rules.lateness_ms

    def _watermark(self, clock_ms: int) -> int:
        """The watermark that stood at an event.

        Of several partitions one may be ahead of the others: only what all have reached counts.
        """
        return clock_ms if self._is_only else self._now_ms

    def join(self, move: Move, event: Event | None = None) -> None:
        """`take_over`, or where that raises the user as it was; one that was not there is the other.

        `event` is that of the user at which it happens, which may say what the shopper refuses.
        """
        if not consent.may_join(self, move, event):
            return
        own = self.rows.get(move.shopper)
        before = None if own is None else msgspec.msgpack.encode(own)
        try:
            self.take_over(move)
        except ENDS_THE_RUN:
            raise
        except Exception:
            self.faults.note("merge", move.shopper)
            row = move.state if before is None else msgspec.msgpack.decode(before, type=Shopper)
            row.known = True
            self.rows[move.shopper] = row

    def take_over(self, move: Move) -> None:
        """Add an anonymous shopper's state to the user it turned out to be."""
        other, name = move.state, move.shopper
        is_same = move.anonymous_id == name
        shopper = self.rows.get(name)
        if shopper is None and is_same:
            self._adopt(move)
            return
        if shopper is None or not shopper.events:
            said, shopper = shopper, self.begin_shopper(name, other.first_ms, known=True)
            shopper.last_ms = other.last_ms
            shopper.away_ms, shopper.returned_ms = other.away_ms, other.returned_ms
            if said is not None:
                consent.join(shopper, said)
        self._active.setdefault(name, shopper.last_ms)
        both = shopper.refused & other.refused
        if self.rules.decision_ticks:
            watermark_ms = self._watermark(move.clock_ms)
            told = outcomes.of_move(self.rules, name, shopper, other, move.at_ms, watermark_ms)
            heard_ms = max(move.at_ms, watermark_ms)
            self.out.heard += [told] if told is not None else []
            self.out.heard.append(Heard(move.anonymous_id, move.at_ms, heard_ms, heir=name))
        segments, now_ms = self.segments, self._clock(move.clock_ms)
        if segments is not None:
            segments.advance(name, shopper, max(now_ms, other.last_ms - 1))
        inactivity.merge(shopper, other, self.rules.absence_ms)
        before, joined_ms = shopper.sessions, max(move.at_ms, move.clock_ms)
        kinds = {} if segments is None else segments.rules.kinds
        repeats, count = duplicates.settle(shopper, other, kinds, now_ms)
        self.out.repeats += [(name, *repeat) for repeat in repeats]
        if self.rules.decision_ticks:
            self.out.heard += [
                Heard(name, at_ms, heard_ms, worth=-worth) for worth, at_ms in repeats
            ]
        self.totals.repeats += count
        sessions.merge(shopper, other, gap_ms=self.rules.gap_ms, at_ms=joined_ms)
        self.totals.sessions_opened += shopper.sessions - before
        profile.merge(shopper, other, self.rules.tastes)
        most = self.rules.remembered_bytes
        shopper.seen = (shopper.seen + other.seen)[-most:]
        shopper.seen_at = (shopper.seen_at + other.seen_at)[-most:]
        for session in shopper.open:
            self._due.add(session.last_ms + self.rules.gap_ms, name)
        if segments is not None:
            segments.merge(name, shopper, other, now_ms, is_same=is_same)
        self._tell_of(move)
        if not is_same:
            self.totals.merges += 1
            self.out.moved.append((move.anonymous_id, name, move.at_ms))
        if newly := shopper.refused & ~both:
            consent.decline(self, name, shopper, newly, move.at_ms)

    def _tell_of(self, move: Move) -> None:
        """Tell what the batch tells of a shopper that moved."""
        self.out.clicks += move.clicks
        self.out.signals += move.signals
        self.out.orders += move.orders
        self.out.former += move.transitions
        self.out.limited += move.limited

    def _adopt(self, move: Move) -> None:
        """Go on with a shopper of the same name, who was kept where its devices are."""
        name, shopper = move.shopper, move.state
        self.rows[name] = shopper
        self.idle.add(name, shopper.last_ms)
        self.changed.add(name)
        self.totals.shoppers += 1
        self.totals.sessions_opened += shopper.sessions
        for session in shopper.open:
            self._due.add(session.last_ms + self.rules.gap_ms, name)
        if self.segments is not None:
            self.segments.follow(name, shopper)
        self._tell_of(move)
        if move.position >= 0:
            self._active[name] = -1
            if not shopper.known:
                self.recognize(name, move.clock_ms, known=True)

    def recognize(self, name: str, clock_ms: int, *, known: bool) -> None:
        """A shopper turned out to be a user, or not to be one."""
        shopper = self.rows[name]
        shopper.known = known
        if not shopper.events:
            self.changed.add(name)
            return
        self._active.setdefault(name, shopper.last_ms)
        if self.segments is not None:
            self.segments.ask_all(name, shopper, max(self._clock(clock_ms), shopper.last_ms))

    def give_up(self, name: str, user: str) -> tuple[Shopper | None, list[Transition]]:
        """Remove a shopper whose state moves to a user's shard, with what it had added to totals; where
        it came and went in this batch is told from there."""
        shopper = self.rows.pop(name, None)
        transitions: list[Transition] = []
        if shopper is not None:
            self.changed.add(name)
            if name != user:
                transitions = self._part_with(name, shopper)
            self.totals.shoppers -= shopper.events > 0
            self.totals.sessions_opened -= shopper.sessions
        return shopper, transitions

    def hand_on(self, move: Move) -> None:
        """What a shopper that moves did in this batch, the user's shard tells: it knows if it may."""
        name = move.anonymous_id
        if self._active.pop(name, None) is not None:
            self._parting.leave(self.out, name, move)

    def withdraw(self, name: str, at_ms: int) -> None:
        """Forget a shopper who agreed to be counted, or was not asked, and refuses now."""
        for device in self.rows[name].devices:
            self.hide_alias(device)
        self.erase(name, at_ms)
        self.refusing.append(name)

    def touch(self, name: str) -> None:
        """Have a shopper told of at the end of the batch."""
        self._active.setdefault(name, self.rows[name].last_ms)

    def hide_alias(self, device: str) -> None:
        """Redis does not tell whose a device is; its shard, which knows, may just have told it."""
        if device not in self._hidden:
            self._hidden.add(device)
            self.out.lifetimes.append(("DEL", keys.alias_key(device)))

    def show_alias(self, name: str, device: str) -> None:
        """Redis tells whose a device is, who agrees to that again."""
        self._hidden.discard(device)
        if device == name:
            return  # an id needs no alias for itself
        alias, ttl_s = keys.alias_key(device), self.rules.alias_ttl_s
        self.out.lifetimes.append(("SET", alias, name, "EX", ttl_s))
        self.note_device(name, device)

    def note_device(self, name: str, device: str) -> None:
        """Remember that Redis tells that a device is this user's, to take it back."""
        shopper = self.rows.get(name)
        if shopper is not None and shopper.events and device not in shopper.devices:
            shopper.devices = (*shopper.devices, device)[-DEVICES_MAX:]
            self.changed.add(name)

    def erase(self, name: str, at_ms: int) -> None:
        """Forget a shopper, here and in Redis; sessions that go on end with it, and teach nothing.

        The event that asks for it is not counted here.
        """
        self.forget(name)
        self.out.erased.append((name, at_ms))
        self.out.removals.append(("DEL", keys.profile_key(name), keys.session_key(name)))

    def forget(self, name: str) -> None:
        """The same where another shard tells of it."""
        shopper = self.rows.pop(name, None)
        if shopper is not None:
            self.changed.add(name)
            self.totals.shoppers -= shopper.events > 0
            self.totals.sessions_closed += len(shopper.open)
            self._part_with(name, shopper)
            self._withdraw(shopper)
        self._active.pop(name, None)
        self._tell_nothing_of(name)

    def drop(self, move: Move) -> None:
        """Take no one over: the user that a shopper turned out to be is erased, and it with it."""
        other = move.state
        self.totals.sessions_opened += other.sessions
        self.totals.sessions_closed += len(other.open)
        self._withdraw(other)
        if move.anonymous_id != move.shopper:
            self.out.erased.append((move.anonymous_id, move.at_ms))

    def _tell_nothing_of(self, name: str) -> None:
        """What the batch tells of a shopper by now is not told."""
        out = self.out
        self._parting.leave(out, name, None)
        out.declined = [one for one in out.declined if one[0] != name]
        if out.former:
            merged = {one[0] for one in out.moved if one[1] == name}
            out.former = [one for one in out.former if one[0] not in merged]

    def _withdraw(self, shopper: Shopper) -> None:
        """What models decided in sessions that go on is no lesson."""
        for session in shopper.open:
            self.out.withdrawn += session.marks()

    def leave_untold(self) -> None:
        """Sort out what the batch told of shoppers before they left."""
        if self._parting:
            self._parting.settle(self.out)

    def _part_with(self, name: str, shopper: Shopper) -> list[Transition]:
        """Nothing more is told of a shopper: whoever hears that it is no more takes it out of all. Gives
        what would have been told."""
        if self.segments is None or shopper.rules is None:
            return []
        return self.segments.part_with(name, shopper.rules)

    def let_go(self, name: str) -> Shopper:
        """Take out a shopper that is put away: nobody lets time pass for it."""
        shopper = self.rows.pop(name)
        self.changed.add(name)
        if self.segments is not None:
            now_ms = max(self._clock(self.out.watermark_ms), shopper.last_ms)
            with self.faults.apart("leave", name):
                self.segments.leave_all(name, shopper, now_ms)
        return shopper

    def take_back(self, name: str, shopper: Shopper) -> None:
        """Go on with a shopper that was put away; it counts as none of what is new."""
        self.rows[name] = shopper
        self.idle.add(name, shopper.last_ms)
        self.changed.add(name)
        if shopper.events:
            self._back.append(name)

    def _ask_who_is_back(self) -> None:
        """A shopper that was away is in no segment before its first event: that may be a duplicate."""
        for name in self._back:
            shopper = self.rows.get(name)
            if self.segments is not None and shopper is not None:
                now_ms = max(self._clock(self.out.watermark_ms), shopper.last_ms)
                with self.faults.apart("ask", name):
                    self.segments.ask_unsure(name, shopper, now_ms)
        self._back.clear()

    def stored_rules(self) -> RulesState:
        """What a snapshot holds of segments by rule, beside the rows."""
        return RulesState() if self.segments is None else self.segments.stored()

    def last_ms(self, name: str) -> int | None:
        """When a shopper was last seen, if it is here."""
        shopper = self.rows.get(name)
        return None if shopper is None else shopper.last_ms

    def finish(self) -> Visited:
        """End the batch: one write a key of each shopper that did something."""
        out, rows = self.out, self.rows
        if self._back:
            self._ask_who_is_back()
        self.leave_untold()
        if self.segments is not None:
            self.segments.settle_parted()
        for name, before_ms in self._active.items():
            try:
                self._show(name, rows[name], before_ms)
            except Exception:
                self.faults.note("profile", name)
        self.changed.update(self._active)
        out.catalogue += self._told.values()
        out.failed, out.faults = self.faults.take_letters(), self.faults.take_counts()
        self._active, self._told = {}, {}
        self._hidden.clear()
        return out

    def _show(self, name: str, shopper: Shopper, before_ms: int) -> None:
        """Tell of a shopper that did something, and write what Redis shows of it."""
        out, rules = self.out, self.rules
        category, share = rules.tastes.strongest(shopper)
        key = keys.shopper_key(name)
        profile_key, session_key = key + "profile", key + "session"
        arguments, count = profile.profile_arguments(profile_key, shopper, category, share)
        out.active.append(
            (
                name,
                shopper.known,
                shopper.refused,
                feature_row(shopper, share, shopper.open[-1] if shopper.open else None),
                arguments,
                count,
            )
        )
        if shopper.open:
            write = out.writes.append
            write(profile.session_write(name, session_key, shopper.open[-1]))
            write(resp.command(_PEXPIRE + resp.bulk(session_key) + self._session_ttl, 3))
        # Each time: a key that had expired, was evicted or deleted is made anew by what is written.
        ttl = self._known_ttl if shopper.known else self._anonymous_ttl
        out.lifetimes.append(resp.command(_EXPIRE + resp.bulk(profile_key) + ttl, 3))
        if shopper.last_ms // HOUR_MS > before_ms // HOUR_MS:
            self.idle.add(name, shopper.last_ms)

    def undo(self, name: str, event: Event, position: int) -> None:
        """An event raised in the middle: it counts nowhere, and is no duplicate when it is sent again.

        A shopper of whom it was the first is none; of another what was added before it raised stays.
        """
        self.totals.failed += 1
        out = self.out
        for told in (out.clicks, out.signals):
            while told and told[-1][0] == position:
                told.pop()
        while out.limited and out.limited[-1][1][0] == position:
            out.limited.pop()
        for item in event.items:
            self._told.pop(item.item_id, None)
        shopper = self.rows.get(name)
        if shopper is None or not (shopper.events or name in self._active):
            return
        mark = orders.mark_of(event.event_id)
        if shopper.seen.endswith(mark):
            shopper.seen, shopper.seen_at = shopper.seen[:-_ID_BYTES], shopper.seen_at[:-_ID_BYTES]
            self.totals.accepted -= 1
            while out.heard and (out.heard[-1].shopper, out.heard[-1].at_ms) == (
                name,
                event.event_ts,
            ):
                out.heard.pop()
            while out.decided and out.decided[-1].startswith(mark):
                out.decided.pop()
            if event.type == "purchase":
                self._forget_order(shopper, event)
        if not (shopper.seen or shopper.events > 1) or not is_storable(shopper):
            self._part_with(name, shopper)
            del self.rows[name]
            self.changed.add(name)
            self._active.pop(name, None)
            self.totals.shoppers -= 1
            self.totals.sessions_opened -= shopper.sessions

    def _decide(
        self, mark: bytes, shopper: Shopper, session: Session | None, clock_ms: int
    ) -> None:
        """Have the models say at this event what will come of the session."""
        if session is not None:
            session.decide(mark)
            share = self.rules.tastes.share(shopper)
            stood = self._watermark(clock_ms).to_bytes(_ID_BYTES, "little", signed=True)
            self.out.decided.append(mark + stood + feature_row(shopper, share, session))

    def _hear(self, name: str, shopper: Shopper, event: Event, clock_ms: int, refused: int) -> None:
        """Tell the models of the weeks to come how a shopper was before an event, and what it brings."""
        if not self.rules.decision_ticks or refused & PERSONALIZATION:
            return
        at_ms, watermark_ms = event.event_ts, self._watermark(clock_ms)
        heard_ms = at_ms if at_ms > watermark_ms else watermark_ms
        is_order = event.type == "purchase"
        if is_order or outcomes.may_lie_between(shopper.last_ms, heard_ms):
            worth = profile.value_micros(event) if is_order else None
            told = outcomes.of_event(self.rules, name, shopper, at_ms, watermark_ms, worth)
            if told is not None:
                self.out.heard.append(told)

    def hear_of_move(self, name: str, at_ms: int, clock_ms: int) -> None:
        """Tell how an anonymous shopper was before it turned out to be a user."""
        shopper = self.rows.get(name)
        if shopper is None or not shopper.events or shopper.refused & PERSONALIZATION:
            return
        if self.rules.decision_ticks:
            watermark_ms = self._watermark(clock_ms)
            told = outcomes.of_event(self.rules, name, shopper, at_ms, watermark_ms)
            if told is not None:
                self.out.heard.append(told)

    def _is_counted(self, shopper: Shopper, event: Event) -> bool:
        """Whether an order was counted before."""
        assert event.order_id is not None
        mark = orders.mark_of(event.order_id)
        order = orders.find(shopper, mark, event.event_ts, self.rules.remembered_orders_ms)
        return order is not None and order.has_come

    def _count_money(
        self, shopper: Shopper, session: Session | None, event: Event, mark: bytes
    ) -> Event:
        """Count what comes of an order, and amounts that do not fit; the event, a refund with what it
        gave back."""
        remembered_ms = self.rules.remembered_orders_ms
        if event.type == "purchase" and event.order_id is not None:
            order = orders.mark_of(event.order_id)
            change, at_ms = orders.bought(shopper, order, event, remembered_ms)
            if change and self.segments is not None:
                self.segments.give_back(shopper, change, at_ms)
        elif event.type == "refund" and event.order_id is not None:
            order = orders.mark_of(event.order_id)
            given = orders.refunded(shopper, order, mark, event, remembered_ms)
            event = replace(event, value=given / MICROS)
        self.totals.saturated += _is_full(shopper, session)
        return event

    def _forget_order(self, shopper: Shopper, event: Event) -> None:
        """The order of a purchase was not counted after all."""
        assert event.order_id is not None
        mark = orders.mark_of(event.order_id)
        order = shopper.orders.get(mark)
        if order is not None and order.at_ms == event.event_ts:
            del shopper.orders[mark]
        told = self.out.orders
        if told and told[-1][2] == event.event_ts:
            told.pop()


def _is_full(shopper: Shopper, session: Session | None) -> bool:
    """Whether a sum of a shopper or of its session stands at the largest amount there is."""
    sums = shopper.revenue_micros, shopper.refund_micros, shopper.units
    return is_full(*sums) or (session is not None and is_full(session.cart_micros))


def is_storable(shopper: Shopper) -> bool:
    """Whether a snapshot can hold a row."""
    try:
        msgspec.msgpack.encode(shopper)
    except Exception:
        return False
    return True


def _is_marked(mark: bytes, seen: bytes) -> bool:
    """Whether one of the marks is this one, and not parts of two that happen to read the same."""
    found = seen.find(mark)
    while found >= 0 and found % _ID_BYTES:
        found = seen.find(mark, found + 1)
    return found >= 0
