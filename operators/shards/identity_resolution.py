"""Whose an event is, as far as one shard of devices can tell: a user's, who lives elsewhere, or its own
anonymous shopper's.

The shard of an id hears of everything that names it: events of the device, events of a user alone, and
notes of events in which another device names it as its user (`Group.named`). So what an id is, is
decided in one place, in whatever order it is told (`operators.shards.identity_map`).

An id that comes first as a user's is undecided until the watermark has passed that event: an earlier
event of a device may still arrive. Until then its shopper lives here, with `known` set. Then it moves
to the shard of users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.tables.timers import Timers
from state import keys
from state.messages import Move

if TYPE_CHECKING:
    from operators.shards.cold_tier import Shelf
    from operators.shards.erasures import Erasures
    from operators.shards.identity_map import Links
    from operators.shards.processor import Shoppers
    from state.events import Event

AT_ONCE = -1
"""The position of a move that waits for no event of the batch."""


class Recognizing:
    """Decides for one shard whose events are; moves shoppers who turn out to be users.

    Before `undecided_from_ms` a new user id is believed at once: a release that did not write down who
    is a user stored the state this goes on from, and of whom it had stored is heard by then.
    """

    def __init__(
        self,
        shoppers: Shoppers,
        links: Links,
        shelf: Shelf,
        erasures: Erasures,
        *,
        alias_ttl_s: int,
        undecided_from_ms: int = 0,
    ) -> None:
        self.undecided_from_ms = undecided_from_ms
        self._shoppers = shoppers
        self._links = links
        self._shelf = shelf
        self._erasures = erasures
        self._alias_ttl_s = alias_ttl_s
        self._now_ms = 0
        self._due = Timers()
        for name, shopper in shoppers.rows.items():
            if shopper.known:
                self._due.add(shopper.first_ms, name)

    def begin(self, now_ms: int) -> None:
        """Start on a batch: whoever was undecided and is a user for sure by now moves on."""
        self._now_ms = now_ms
        for name in sorted(self._due.due(now_ms)):
            shopper = self._shoppers.rows.get(name)
            # A time may be that of a shopper who was erased, and the one there now began later.
            if shopper is not None and shopper.known and shopper.first_ms < now_ms:
                self._is_user(name, AT_ONCE, shopper.last_ms, now_ms)

    def named(self, position: int, user_id: str, at_ms: int, clock_ms: int) -> None:
        """An event of another device names an id as its user."""
        if not self._erasures.cover(user_id, at_ms):
            self._is_user(user_id, position, at_ms, clock_ms)

    def user_of(self, event: Event, position: int, clock_ms: int) -> str | None:
        """The user whose event this is, or None where its own id's shopper lives here."""
        if event.anonymous_id is None:
            return self._alone(event, clock_ms)
        if event.anonymous_id == event.user_id:
            self._is_user(event.user_id, position, event.event_ts, clock_ms)
            if self._unlink(event.anonymous_id):
                self._shoppers.totals.identity_conflicts += 1
            return event.user_id
        return self._of_device(event, event.anonymous_id, position, clock_ms)

    def erase_device(self, name: str, at_ms: int, *, is_asked: bool) -> None:
        """Forget a device. `is_asked`: the event is about it alone, and counts here.

        It never reaches a user: it forgets what is the device's own, and whose it is.
        """
        totals, is_new = self._shoppers.totals, not self._erasures.cover(name, at_ms)
        is_erased = False
        if is_new:
            is_erased = self._unlink(name)
            if not self._may_be_user(name):
                self._erase(name, at_ms)
                is_erased = True
        if is_asked:
            totals.accepted += is_new
            totals.duplicates += not is_new
            totals.erased += is_erased

    def erase_user(self, name: str, at_ms: int, *, is_own: bool) -> str | None:
        """Forget the devices of a user; where the id is this shard's `own`, that it is a user's too.

        The user to be erased where that is not done with.
        """
        shoppers, links, totals = self._shoppers, self._links, self._shoppers.totals
        if self._erasures.cover(name, at_ms):
            totals.duplicates += is_own
            return None
        for device in links.devices_of(name):
            self.erase_device(device, at_ms, is_asked=False)
        if not is_own:
            self._erasures.add(name, at_ms)
            return None
        shopper = shoppers.rows.get(name)
        is_linked = name in links.users and name not in links.known
        is_device = is_linked if shopper is None else not shopper.known
        self._unlink(name)
        links.forget(name)
        if is_device:
            # A server that sends the id of a device as that of a user means the device.
            self._erase(name, at_ms)
            totals.accepted += 1
            totals.erased += 1
            return None
        shoppers.forget(name)
        self._shelf.forget(name, erased=True)
        self._erasures.add(name, at_ms)
        return name

    def _erase(self, name: str, at_ms: int) -> None:
        self._shoppers.erase(name, at_ms)
        self._shelf.forget(name, erased=True)
        writes = self._shoppers.out.writes
        writes.append(("DEL", keys.alias_key(name)))
        writes += self._erasures.add(name, at_ms)

    def _may_be_user(self, name: str) -> bool:
        shopper = self._shoppers.rows.get(name)
        if shopper is not None:
            return shopper.known
        return name in self._links.known or self._now_ms < self.undecided_from_ms

    def _alone(self, event: Event, clock_ms: int) -> str | None:
        """Of an event without a device."""
        name, at_ms, links = event.user_id, event.event_ts, self._links
        assert name is not None
        if name in links.known:
            links.know(name, at_ms)
            return name
        shopper = self._shoppers.rows.get(name)
        if shopper is None:
            if link := links.users.get(name):
                return link[0]
            if self._now_ms < self.undecided_from_ms:
                links.know(name, at_ms)
                return name
            self._due.add(at_ms, name)
        elif not shopper.known and clock_ms <= at_ms < shopper.first_ms:
            self._shoppers.recognize(name, clock_ms, known=True)
            self._due.add(at_ms, name)
        return None

    def _of_device(self, event: Event, name: str, position: int, clock_ms: int) -> str | None:
        """Of an event of a device, which may say whose it is."""
        shopper, links, at_ms = self._shoppers.rows.get(name), self._links, event.event_ts
        is_undecided = shopper is not None and shopper.known
        if shopper is not None and is_undecided and clock_ms <= at_ms <= shopper.first_ms:
            is_undecided = False
            self._shoppers.recognize(name, clock_ms, known=False)
            if link := links.users.get(name):
                # It identified when it seemed to be a user.
                self._shoppers.totals.identity_conflicts -= 1
                self._alias(name, link[0], position)
                self._move(name, link[0], position, at_ms, clock_ms)
        known = links.resolve(event, is_user=is_undecided)
        if known is None:
            return None
        self._shoppers.totals.identity_conflicts += known.conflict
        if known.alias_due:
            self._alias(name, known.user_id, position)
        if known.newly_linked:
            self._move(name, known.user_id, position, at_ms, clock_ms)
        return known.user_id

    def _alias(self, name: str, user: str, position: int) -> None:
        write = ("SET", keys.alias_key(name), user, "EX", self._alias_ttl_s)
        self._shoppers.out.writes.append(write)
        self._shoppers.out.aliases.append((position, user, name))

    def _is_user(self, name: str, position: int, at_ms: int, clock_ms: int) -> None:
        """An id is a user's; its shopper moves to the shard of users, if it lived here."""
        if name in self._links.users and name not in self._links.known:
            self._shoppers.out.writes.append(("DEL", keys.alias_key(name)))
        self._links.know(name, at_ms)
        if name in self._shoppers.rows:
            self._give_up(name, name, position, at_ms, clock_ms)

    def _move(self, name: str, user: str, position: int, at_ms: int, clock_ms: int) -> None:
        self._give_up(name, user, position, at_ms, clock_ms)
        # Also where nobody was: with the identification in another partition, a run that was killed may
        # have read what came before it first, and told Redis of a shopper whom this one never knew.
        gone = keys.profile_key, keys.session_key, keys.segments_key
        removals = self._shoppers.out.removals
        removals.append(("DEL", *(key(name) for key in gone), keys.top_key(name, keys.SLOT)))

    def _give_up(self, name: str, user: str, position: int, at_ms: int, clock_ms: int) -> None:
        if name != user:
            self._shoppers.hear_of_move(name, at_ms, clock_ms)
        state, transitions = self._shoppers.give_up(name, user)
        if state is not None:
            move = Move(position, name, user, state, at_ms, clock_ms, transitions=transitions)
            self._shoppers.hand_on(move)
            self._shoppers.out.moves.append(move)
            if self._shoppers.totals.evicted:
                self._shelf.forget(name, erased=False)

    def _unlink(self, name: str) -> bool:
        """A device is nobody's from now on; whether it was somebody's."""
        if not self._links.unlink(name):
            return False
        self._shoppers.out.writes.append(("DEL", keys.alias_key(name)))
        return True
