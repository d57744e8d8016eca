"""What a shard puts away: shoppers and links that were not seen for long wait in Redis for their return.

Redis may be ahead of a run that goes on after a crash, so a shelf keeps two rules. It puts away, and
deletes, only what has not changed since an epoch that is committed: whatever a lost run wrote, the row
in Redis is the one that the resumed state has forgotten. And it holds what it wrote until that is in
Redis for sure. Both take two epochs: the next begins when the one before is committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from state import keys, resp
from state.snapshots import ROWS, RowsState
from state.times import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from operators.shards.identity_map import Links
    from operators.shards.processor import Rules, Shoppers
    from state.messages import Visited
    from state.shopper import Shopper

LINEAGE_BYTES = 8
_WAIT_EPOCHS = 2
_SPARE = 16
"""Of a shard that is full, one part in so many is put away at once."""


class Archive(Protocol):
    """Where rows are read that were put away. `lineage` marks those of a run that begins anew."""

    lineage: bytes

    def fetch(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """What keys hold, None where there is nothing; waits while Redis is away."""

    def members(self, names: Sequence[str]) -> Sequence[Iterable[bytes]]:
        """What SET keys hold; waits too."""


class Shelf:
    """Keeps one shard's rows and links within bounds, and what is too much under keys of `key_of`.

    Without an archive there are no bounds.

    `gone` are names whose row in Redis must not come back any more, and whether they were erased.
    """

    def __init__(
        self,
        key_of: Callable[[str], str],
        rules: Rules,
        archive: Archive | None,
        shoppers: Shoppers,
        links: Links | None = None,
        *,
        idle_ms: int,
        lineage: bytes = b"",
        gone: dict[str, bool] | None = None,
    ) -> None:
        self.lineage = lineage or (b"" if archive is None else archive.lineage)
        self.gone = {} if gone is None else gone
        self._key_of = key_of
        self._rules = rules
        self._idle_ms = idle_ms
        self._archive = archive
        self._shoppers = shoppers
        self._links = links
        self._epoch = 0
        self._deletable = dict.fromkeys(self.gone, _WAIT_EPOCHS)
        # By epoch, newest first: what changed before this one, what was written or deleted.
        self._changed: list[set[str]] = []
        self._written: list[dict[str, RowsState | None]] = [{}]
        self._full = self._full_links = rules.rows_max
        self._swept_ms = self._tried_ms = 0

    def end_epoch(self) -> None:
        """What changed until now is in the snapshot."""
        self._epoch += 1
        shoppers, links = self._shoppers, self._links
        changed, shoppers.changed = shoppers.changed, set()
        if links is not None:
            changed |= links.changed
            links.changed = set()
        self._changed = [changed, *self._changed][: _WAIT_EPOCHS - 1]
        self._written = [{}, *self._written][:_WAIT_EPOCHS]

    def bring_back(self, names: Iterable[str]) -> None:
        """Take what was put away of these names into memory again."""
        shoppers, links = self._shoppers, self._links
        if self._archive is None or not shoppers.totals.evicted:
            return
        unknown = set(names).difference(shoppers.rows)
        if links is not None:
            unknown = unknown.difference(links.users, links.known)
        unknown = unknown.difference(self.gone)
        asked: list[str] = []
        for name in sorted(unknown):
            for written in self._written:
                if name in written:
                    self._restore(written[name])
                    break
            else:
                asked.append(name)
        if asked:
            fetched = self._archive.fetch([self._key_of(name) for name in asked])
            for row in fetched:
                if row is not None and row.startswith(self.lineage):
                    self._restore(ROWS.decode(row[LINEAGE_BYTES:]))

    def bring_back_devices(self, users: Sequence[str], is_own: Callable[[str], bool]) -> None:
        """Take the links of these users' devices into memory again, those that are this shard's."""
        if self._archive is None or not self._shoppers.totals.evicted:
            return
        found = self._archive.members([keys.devices_key(user) for user in users])
        names = {name.decode() for of_user in found for name in of_user}
        names |= {
            name
            for written in self._written
            for name, state in written.items()
            if state is not None and any(user in users for user, _ in state.links.values())
        }
        self.bring_back(name for name in names if is_own(name))

    def forget(self, name: str, *, erased: bool) -> None:
        """What may be in Redis of a name must not come back, and is deleted as soon as may be."""
        if self._archive is not None:
            self.gone[name] = erased
            self._deletable[name] = self._epoch + _WAIT_EPOCHS

    def forget_all(self, names: list[str]) -> None:
        """Have those erased who withdrew, and take them off the list."""
        for name in names:
            self.forget(name, erased=True)
        names.clear()

    def put_away(self, out: Visited) -> None:
        """Put away what is too much or too old by now; the rest of a batch has been folded."""
        if self._archive is None:
            return
        if self.gone:
            self._delete(out)
        now_ms = out.watermark_ms
        before_ms = 0
        if now_ms - self._swept_ms >= HOUR_MS:
            self._swept_ms, before_ms = now_ms, now_ms - self._idle_ms
        if now_ms - self._tried_ms >= MINUTE_MS:
            self._tried_ms = now_ms
            self._full = self._full_links = self._rules.rows_max
        shoppers, links = self._shoppers, self._links
        count = len(shoppers.rows)
        if count > self._full or before_ms > 0:
            too_many = self._too_many(count, self._full)
            for name in shoppers.idle.longest(too_many, before_ms, shoppers.last_ms, self._is_kept):
                self._put_away(name, shoppers.let_go(name), out)
            self._full = self._next(len(shoppers.rows))
        count = 0 if links is None else max(len(links.users), len(links.known))
        if links is not None and (count > self._full_links or before_ms > 0):
            too_many = self._too_many(count, self._full_links)
            for name in links.idle.longest(too_many, before_ms, links.last_ms, self._is_held):
                self._put_link_away(name, links, out)
            self._full_links = self._next(max(len(links.users), len(links.known)))

    def _too_many(self, count: int, full: int) -> int:
        most = self._rules.rows_max
        return count - most + most // _SPARE if count > full else 0

    def _next(self, count: int) -> int:
        """At how many to try again: not with each batch where nobody can be put away."""
        return max(self._rules.rows_max, count + count // _SPARE)

    def _is_kept(self, name: str) -> bool:
        shopper = self._shoppers.rows[name]
        # Among devices a user is one who is not decided yet, and moves soon.
        is_undecided = self._links is not None and shopper.known
        return bool(shopper.open) or is_undecided or self._is_new(name)

    def _is_held(self, name: str) -> bool:
        return name in self._shoppers.rows or self._is_new(name)

    def _is_new(self, name: str) -> bool:
        """Whether a name changed in an epoch that may not be committed yet."""
        links = self._links
        if name in self._shoppers.changed or (links is not None and name in links.changed):
            return True
        return any(name in changed for changed in self._changed)

    def _put_away(self, name: str, shopper: Shopper, out: Visited) -> None:
        rules = self._rules
        ttl_s = rules.known_ttl_s if shopper.known else rules.anonymous_ttl_s
        self._write(name, RowsState(rows={name: shopper}), ttl_s, out)
        out.evicted.append((name, out.watermark_ms))

    def _put_link_away(self, name: str, links: Links, out: Visited) -> None:
        link, known = links.put_away(name)
        state, ttl_s = RowsState(), self._rules.alias_ttl_s
        if link is not None:
            state.links[name] = link
        if known is not None:
            state.known[name] = known
            ttl_s = max(ttl_s, self._rules.known_idle_ms // 1000)
        self._write(name, state, ttl_s, out)
        if link is not None:
            of_user = keys.devices_key(link[0])
            out.writes += [("SADD", of_user, name), ("EXPIRE", of_user, ttl_s)]

    def _write(self, name: str, state: RowsState, ttl_s: int, out: Visited) -> None:
        self._shoppers.totals.evicted += 1
        self._written[0][name] = state
        self.gone.pop(name, None)
        self._deletable.pop(name, None)
        row = self.lineage + ROWS.encode(state)
        out.writes.append(resp.set_bytes(self._key_of(name), row, ttl_s))

    def _delete(self, out: Visited) -> None:
        due = [
            name
            for name, epoch in self._deletable.items()
            if epoch <= self._epoch or (out.last and self.gone[name])
        ]
        for name in due:
            del self._deletable[name], self.gone[name]
            self._written[0][name] = None
            out.writes.append(("DEL", self._key_of(name)))
            if self._links is None:
                # All shards of devices have committed by now what they made of it.
                out.writes.append(("DEL", keys.devices_key(name)))

    def _restore(self, state: RowsState | None) -> None:
        if state is None:
            return
        for name, shopper in state.rows.items():
            self._shoppers.take_back(name, shopper)
        if self._links is not None:
            self._links.take_back(state.links, state.known)
        self._shoppers.totals.returned += 1
