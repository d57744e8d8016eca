"""Decides in a device shard which shopper an event belongs to: its device's, or a user's elsewhere.

The shard of an id receives everything that names it: events of the device, events of a user without a
device, and the mentions of the id as a user in events of other devices
(`DeviceShardInput.user_mentions`). So one place decides what an id is, and the order of arrival does not
matter. The rules are those of `identity_map`.

An id that comes first as a user's is undecided until the watermark has passed that event, since an
earlier event of a device may still arrive. Until then its shopper lives here, with `known` set. Then it
is transferred to the shard of users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shards.aliases import alias_write
from operators.shards.observations import observe_transfer
from operators.shards.removal import erase, remove, transfer_out
from operators.tables.timers import Timers
from state import keys
from state.entries import NewAlias, UserMention

if TYPE_CHECKING:
    from operators.shards.cold_tier import ColdTier
    from operators.shards.erasures import Erasures
    from operators.shards.identity_map import IdentityMap
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event

NO_POSITION = -1
"""The position of a transfer that no event of the batch led to."""


class IdentityResolver:
    """Resolves the events of one shard; transfers shoppers that turn out to be users.

    Before `undecided_from_ms` (event time) a new user id is a user's at once. The state was then stored
    by a release that did not store which ids are users; by that time all of them have been seen again.
    """

    def __init__(
        self,
        shoppers: ShardShoppers,
        identity_map: IdentityMap,
        cold_tier: ColdTier,
        erasures: Erasures,
        *,
        undecided_from_ms: int = 0,
    ) -> None:
        self.undecided_from_ms = undecided_from_ms
        self._shoppers = shoppers
        self._identity_map = identity_map
        self._cold_tier = cold_tier
        self._erasures = erasures
        self._watermark_ms = 0
        self._undecided_timers = Timers()
        for name, shopper in shoppers.rows.items():
            if shopper.known:
                self._undecided_timers.add(shopper.first_ms, name)

    def begin_batch(self, watermark_ms: int) -> None:
        """Start a batch: transfer the shoppers that the watermark has decided to be users."""
        self._watermark_ms = watermark_ms
        for name in sorted(self._undecided_timers.take_due(watermark_ms)):
            shopper = self._shoppers.rows.get(name)
            # A timer may be of a shopper that was erased since; the one there now began later.
            if shopper is not None and shopper.known and shopper.first_ms < watermark_ms:
                self._mark_as_user(name, NO_POSITION, shopper.last_ms, watermark_ms)

    def watch_undecided(self, name: str, at_ms: int) -> None:
        """Have an id decided once the watermark has passed its first event, which names it as a user."""
        self._undecided_timers.add(at_ms, name)

    def observe_mention(self, mention: UserMention) -> None:
        """Note that an event of another device names an id as its user."""
        if not self._erasures.covers(mention.user_id, mention.at_ms):
            self._mark_as_user(
                mention.user_id, mention.position, mention.at_ms, mention.watermark_ms
            )

    def user_of(self, event: Event, position: int, event_watermark_ms: int) -> str | None:
        """The user that an event belongs to; None where its shopper lives in this shard."""
        if event.anonymous_id is None:
            return self._user_without_device(event, event_watermark_ms)
        if event.anonymous_id == event.user_id:
            self._mark_as_user(event.user_id, position, event.event_ts, event_watermark_ms)
            if self._unlink(event.anonymous_id):
                self._shoppers.totals.identity_conflicts += 1
            return event.user_id
        return self._user_of_device(event, event.anonymous_id, position, event_watermark_ms)

    def erase_device(self, name: str, at_ms: int, *, is_requested: bool) -> None:
        """Erase a device: its own shopper, and its link to a user. It never erases the user.

        `is_requested` says that the event asks for this device alone, and is counted here.
        """
        totals, is_new = self._shoppers.totals, not self._erasures.covers(name, at_ms)
        is_erased = False
        if is_new:
            is_erased = self._unlink(name)
            if not self._may_be_user(name):
                self._erase(name, at_ms)
                is_erased = True
        if is_requested:
            totals.accepted += is_new
            totals.duplicates += not is_new
            totals.erased += is_erased

    def erase_user(self, name: str, at_ms: int, *, is_own: bool) -> str | None:
        """Erase the devices of a user in this shard; if the id is the shard's own, also that it is a
        user.

        The user that the shard of users still has to erase; None if there is nothing left to do.
        """
        shoppers, identity_map, totals = self._shoppers, self._identity_map, self._shoppers.totals
        if self._erasures.covers(name, at_ms):
            totals.duplicates += is_own
            return None
        for device in identity_map.devices_of(name):
            self.erase_device(device, at_ms, is_requested=False)
        if not is_own:
            self._erasures.add(name, at_ms)
            return None
        shopper = shoppers.rows.get(name)
        is_linked = name in identity_map.links and name not in identity_map.known_users
        is_device = is_linked if shopper is None else not shopper.known
        self._unlink(name)
        identity_map.remove_user(name)
        if is_device:
            # A server that sends the id of a device as that of a user means the device.
            self._erase(name, at_ms)
            totals.accepted += 1
            totals.erased += 1
            return None
        remove(shoppers, name)
        self._cold_tier.schedule_delete(name, is_erased=True)
        self._erasures.add(name, at_ms)
        return name

    def _erase(self, name: str, at_ms: int) -> None:
        erase(self._shoppers, name, at_ms)
        self._cold_tier.schedule_delete(name, is_erased=True)
        writes = self._shoppers.output.writes
        writes.append(("DEL", keys.alias_key(name)))
        writes += self._erasures.add(name, at_ms)

    def _may_be_user(self, name: str) -> bool:
        shopper = self._shoppers.rows.get(name)
        if shopper is not None:
            return shopper.known
        return name in self._identity_map.known_users or self._watermark_ms < self.undecided_from_ms

    def _user_without_device(self, event: Event, event_watermark_ms: int) -> str | None:
        """The user of an event without a device; None where the id is undecided, or a device's."""
        name, at_ms, identity_map = event.user_id, event.event_ts, self._identity_map
        assert name is not None
        if name in identity_map.known_users:
            identity_map.mark_as_user(name, at_ms)
            return name
        shopper = self._shoppers.rows.get(name)
        if shopper is None:
            if link := identity_map.links.get(name):
                return link[0]
            if self._watermark_ms < self.undecided_from_ms:
                identity_map.mark_as_user(name, at_ms)
                return name
            self.watch_undecided(name, at_ms)
        elif at_ms < shopper.first_ms and (shopper.known or event_watermark_ms <= at_ms):
            if not shopper.known:
                self._shoppers.set_known(name, event_watermark_ms, known=True)
            # Of a user too: a resumed shard sets its timers by the first event, which this one is now.
            self.watch_undecided(name, at_ms)
        return None

    def _user_of_device(
        self, event: Event, name: str, position: int, event_watermark_ms: int
    ) -> str | None:
        """The user of an event of a device, which may name its user; None for an anonymous shopper."""
        shopper = self._shoppers.rows.get(name)
        identity_map, at_ms = self._identity_map, event.event_ts
        is_undecided = shopper is not None and shopper.known
        if shopper is not None and is_undecided and event_watermark_ms <= at_ms <= shopper.first_ms:
            is_undecided = False
            self._shoppers.set_known(name, event_watermark_ms, known=False)
            if link := identity_map.links.get(name):
                # It identified while it seemed to be a user, which counted as a conflict.
                self._shoppers.totals.identity_conflicts -= 1
                self._emit_alias(name, link[0], position)
                self._merge_into_user(name, link[0], position, at_ms, event_watermark_ms)
        resolution = identity_map.resolve(event, is_user=is_undecided)
        if resolution is None:
            return None
        self._shoppers.totals.identity_conflicts += resolution.is_conflict
        if resolution.alias_needs_refresh:
            self._emit_alias(name, resolution.user_id, position)
        if resolution.is_new_link:
            self._merge_into_user(name, resolution.user_id, position, at_ms, event_watermark_ms)
        return resolution.user_id

    def _emit_alias(self, name: str, user: str, position: int) -> None:
        write = alias_write(name, user, self._shoppers.config.alias_ttl_s)
        self._shoppers.output.writes.append(write)
        self._shoppers.output.new_aliases.append(NewAlias(position, user, name))

    def _mark_as_user(self, name: str, position: int, at_ms: int, event_watermark_ms: int) -> None:
        """Note that an id is a user's; transfer its shopper to the shard of users, if it lives here."""
        if name in self._identity_map.links and name not in self._identity_map.known_users:
            self._shoppers.output.writes.append(("DEL", keys.alias_key(name)))
        self._identity_map.mark_as_user(name, at_ms)
        if name in self._shoppers.rows:
            self._transfer_out(name, name, position, at_ms, event_watermark_ms)

    def _merge_into_user(
        self, name: str, user: str, position: int, at_ms: int, event_watermark_ms: int
    ) -> None:
        self._transfer_out(name, user, position, at_ms, event_watermark_ms)
        # Even if there was no shopper here: a run that crashed may have read the partitions in another
        # order, and published the anonymous shopper before it saw the identification.
        key_of = keys.profile_key, keys.session_key, keys.segments_key
        removals = self._shoppers.output.removal_writes
        removals.append(("DEL", *(key(name) for key in key_of), keys.top_key(name, keys.SLOT)))

    def _transfer_out(
        self, name: str, user: str, position: int, at_ms: int, event_watermark_ms: int
    ) -> None:
        shoppers = self._shoppers
        if name != user:
            # Before the row is taken out, which it is about.
            observe_transfer(shoppers, name, at_ms, event_watermark_ms)
        is_moved = transfer_out(
            shoppers,
            name,
            user,
            position=position,
            at_ms=at_ms,
            event_watermark_ms=event_watermark_ms,
        )
        if is_moved and shoppers.totals.evicted:
            self._cold_tier.schedule_delete(name, is_erased=False)

    def _unlink(self, name: str) -> bool:
        """Remove the link of a device and its alias; whether there was a link."""
        if not self._identity_map.unlink(name):
            return False
        self._shoppers.output.writes.append(("DEL", keys.alias_key(name)))
        return True
