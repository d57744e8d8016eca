"""The cold tier of a shard: shoppers and links that are idle or too many move to Redis.

Redis may be ahead of a run that resumes after a crash, so two rules hold. A row is evicted or deleted
only if it has not changed since an epoch that is committed: whatever a crashed run wrote, the row in
Redis is the one that the resumed state has evicted. And a row that was written stays in memory until it
is in Redis for sure. Both take two epochs, since an epoch begins when the one before it is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from state import keys, resp
from state.snapshots import SHARD_RECORD_CODEC, ShardRecord
from state.times import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from operators.shards.config import ProcessorConfig
    from operators.shards.erasures import Erasures
    from operators.shards.identity_map import IdentityMap
    from operators.shards.shard_shoppers import ShardShoppers
    from state.messages import ShardOutput
    from state.shopper import Shopper

RUN_ID_BYTES = 8
_COMMIT_EPOCHS = 2
_EVICT_ONE_IN = 16
"""A full shard evicts this part of its rows at once."""


class ColdStore(Protocol):
    """Reads evicted rows. `run_id` is new for each run that starts from empty state.

    Rows begin with it, so that a run never reads rows of an earlier one. Stored as `lineage`.
    """

    run_id: bytes

    def fetch(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """The values of keys, None for a key that does not exist. Waits while Redis is down."""

    def members(self, names: Sequence[str]) -> Sequence[Iterable[bytes]]:
        """The members of SET keys. Waits while Redis is down."""


class ColdTier:
    """Keeps the rows and links of one shard within limits; the rest goes to the keys of `key_of`.

    Without a cold store there are no limits. `pending_deletes` are names whose row in Redis must not
    come back, and whether they were erased. Stored as `gone`.
    """

    def __init__(
        self,
        key_of: Callable[[str], str],
        config: ProcessorConfig,
        cold_store: ColdStore | None,
        shoppers: ShardShoppers,
        identity_map: IdentityMap | None = None,
        *,
        idle_ms: int,
        run_id: bytes = b"",
        pending_deletes: dict[str, bool] | None = None,
    ) -> None:
        self.run_id = run_id or (b"" if cold_store is None else cold_store.run_id)
        self.pending_deletes = {} if pending_deletes is None else pending_deletes
        self._key_of = key_of
        self._config = config
        self._idle_ms = idle_ms
        self._cold_store = cold_store
        self._shoppers = shoppers
        self._identity_map = identity_map
        self._epoch = 0
        self._delete_epochs = dict.fromkeys(self.pending_deletes, _COMMIT_EPOCHS)
        # By epoch, newest first: names that changed in epochs before this one; rows that were written,
        # or None for deleted ones, this epoch first.
        self._recent_changes: list[set[str]] = []
        self._recent_writes: list[dict[str, ShardRecord | None]] = [{}]
        self._evict_above = self._evict_links_above = config.rows_max
        self._idle_checked_ms = self._size_checked_ms = 0

    def on_epoch_end(self) -> None:
        """Changes up to now are in the snapshot."""
        self._epoch += 1
        shoppers, identity_map = self._shoppers, self._identity_map
        dirty_names, shoppers.dirty_names = shoppers.dirty_names, set()
        if identity_map is not None:
            dirty_names |= identity_map.dirty_ids
            identity_map.dirty_ids = set()
        self._recent_changes = [dirty_names, *self._recent_changes][: _COMMIT_EPOCHS - 1]
        self._recent_writes = [{}, *self._recent_writes][:_COMMIT_EPOCHS]

    def reload(self, names: Iterable[str]) -> None:
        """Load the rows of these names into memory, if they were evicted."""
        shoppers, identity_map = self._shoppers, self._identity_map
        if self._cold_store is None or not shoppers.totals.evicted:
            return
        unknown = {name for name in names if name not in shoppers.rows}
        if identity_map is not None:
            unknown = unknown.difference(identity_map.links, identity_map.known_users)
        unknown = unknown.difference(self.pending_deletes)
        to_fetch: list[str] = []
        for name in sorted(unknown):
            for recent in self._recent_writes:
                if name in recent:
                    self._restore(recent[name])
                    break
            else:
                to_fetch.append(name)
        if to_fetch:
            fetched = self._cold_store.fetch([self._key_of(name) for name in to_fetch])
            for row in fetched:
                if row is not None and row.startswith(self.run_id):
                    self._restore(SHARD_RECORD_CODEC.decode(row[RUN_ID_BYTES:]))

    def reload_devices(self, users: Sequence[str], owns: Callable[[str], bool]) -> None:
        """Load the links of these users' devices into memory, as far as this shard owns the devices."""
        if self._cold_store is None or not self._shoppers.totals.evicted:
            return
        members = self._cold_store.members([keys.devices_key(user) for user in users])
        names = {name.decode() for of_user in members for name in of_user}
        names |= {
            name
            for recent in self._recent_writes
            for name, state in recent.items()
            if state is not None and any(user in users for user, _ in state.links.values())
        }
        self.reload(name for name in names if owns(name))

    def schedule_delete(self, name: str, *, is_erased: bool) -> None:
        """Never load the row of a name again, and delete it as soon as that is safe."""
        if self._cold_store is not None:
            self.pending_deletes[name] = is_erased
            self._delete_epochs[name] = self._epoch + _COMMIT_EPOCHS

    def erase_refusing(self, erasures: Erasures) -> None:
        """Delete what is stored of shoppers that refuse analytics as of this batch."""
        refusing = self._shoppers.refusing_analytics
        erasures.journal_names_erased |= bool(refusing)
        for name in refusing:
            self.schedule_delete(name, is_erased=True)
        refusing.clear()

    def evict(self, output: ShardOutput) -> None:
        """Evict rows and links that are idle or too many. Call it at the end of a batch."""
        if self._cold_store is None:
            return
        if self.pending_deletes:
            self._delete_due(output)
        watermark_ms = output.watermark_ms
        idle_before_ms = 0
        if watermark_ms - self._idle_checked_ms >= HOUR_MS:
            self._idle_checked_ms, idle_before_ms = watermark_ms, watermark_ms - self._idle_ms
        if watermark_ms - self._size_checked_ms >= MINUTE_MS:
            self._size_checked_ms = watermark_ms
            self._evict_above = self._evict_links_above = self._config.rows_max
        shoppers, identity_map = self._shoppers, self._identity_map
        count = len(shoppers.rows)
        if count > self._evict_above or idle_before_ms > 0:
            overflow = self._overflow(count, self._evict_above)
            for name in shoppers.idle.longest_idle(
                overflow, idle_before_ms, shoppers.last_ms, self._is_pinned
            ):
                self._evict_shopper(name, shoppers.evict(name), output)
            self._evict_above = self._next_check_count(len(shoppers.rows))
        count = (
            0
            if identity_map is None
            else max(len(identity_map.links), len(identity_map.known_users))
        )
        if identity_map is not None and (count > self._evict_links_above or idle_before_ms > 0):
            overflow = self._overflow(count, self._evict_links_above)
            for name in identity_map.idle.longest_idle(
                overflow, idle_before_ms, identity_map.last_ms, self._is_link_pinned
            ):
                self._evict_link(name, identity_map, output)
            self._evict_links_above = self._next_check_count(
                max(len(identity_map.links), len(identity_map.known_users))
            )

    def _overflow(self, count: int, evict_above: int) -> int:
        limit = self._config.rows_max
        return count - limit + limit // _EVICT_ONE_IN if count > evict_above else 0

    def _next_check_count(self, count: int) -> int:
        """The number of rows at which to try again: not with each batch while nothing can be evicted."""
        return max(self._config.rows_max, count + count // _EVICT_ONE_IN)

    def _is_pinned(self, name: str) -> bool:
        shopper = self._shoppers.rows[name]
        # A user in a device shard is an id that is not resolved yet; it moves to a user shard soon.
        is_undecided = self._identity_map is not None and shopper.known
        return bool(shopper.open_sessions) or is_undecided or self._is_uncommitted(name)

    def _is_link_pinned(self, name: str) -> bool:
        return name in self._shoppers.rows or self._is_uncommitted(name)

    def _is_uncommitted(self, name: str) -> bool:
        """Whether a name changed in an epoch that may not be committed yet."""
        identity_map = self._identity_map
        if name in self._shoppers.dirty_names:
            return True
        if identity_map is not None and name in identity_map.dirty_ids:
            return True
        return any(name in changed for changed in self._recent_changes)

    def _evict_shopper(self, name: str, shopper: Shopper, output: ShardOutput) -> None:
        config = self._config
        ttl_s = config.known_ttl_s if shopper.known else config.anonymous_ttl_s
        self._write(name, ShardRecord(rows={name: shopper}), ttl_s, output)
        output.evicted.append((name, output.watermark_ms))

    def _evict_link(self, name: str, identity_map: IdentityMap, output: ShardOutput) -> None:
        link, last_day = identity_map.evict(name)
        state, ttl_s = ShardRecord(), self._config.alias_ttl_s
        if link is not None:
            state.links[name] = link
        if last_day is not None:
            state.known[name] = last_day
            ttl_s = max(ttl_s, self._config.known_idle_ms // 1000)
        self._write(name, state, ttl_s, output)
        if link is not None:
            devices_key = keys.devices_key(link[0])
            output.writes += [("SADD", devices_key, name), ("EXPIRE", devices_key, ttl_s)]

    def _write(self, name: str, state: ShardRecord, ttl_s: int, output: ShardOutput) -> None:
        self._shoppers.totals.evicted += 1
        self._recent_writes[0][name] = state
        self.pending_deletes.pop(name, None)
        self._delete_epochs.pop(name, None)
        row = self.run_id + SHARD_RECORD_CODEC.encode(state)
        output.writes.append(resp.pack_set_bytes(self._key_of(name), row, ttl_s))

    def _delete_due(self, output: ShardOutput) -> None:
        due = [
            name
            for name, epoch in self._delete_epochs.items()
            if epoch <= self._epoch or (output.last and self.pending_deletes[name])
        ]
        for name in due:
            del self._delete_epochs[name], self.pending_deletes[name]
            self._recent_writes[0][name] = None
            output.writes.append(("DEL", self._key_of(name)))
            if self._identity_map is None:
                # By now all device shards have committed that the user is erased.
                output.writes.append(("DEL", keys.devices_key(name)))

    def _restore(self, state: ShardRecord | None) -> None:
        if state is None:
            return
        for name, shopper in state.rows.items():
            self._shoppers.restore(name, shopper)
        if self._identity_map is not None:
            self._identity_map.restore(state.links, state.known)
        self._shoppers.totals.returned += 1
