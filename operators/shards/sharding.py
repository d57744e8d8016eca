"""Shards: the keyed state of the flow, each a good many shoppers, folded a group at a time.

First by device: anonymous shoppers live there, and users are recognised. Then by user. The state of
an anonymous shopper who turns out to be a user moves from the first kind of shard to the second, so
the flow needs no cycle.
"""

from __future__ import annotations

import zlib
from copy import copy
from itertools import chain, repeat
from operator import itemgetter
from typing import TYPE_CHECKING

from operators.events.processing_errors import NOT_KNOWN
from operators.shards import processor
from operators.shards.cold_tier import Shelf
from operators.shards.erasures import Erasures
from operators.shards.identity_map import Links
from operators.shards.identity_resolution import Recognizing
from operators.shards.shard_state import StoredRows, encoded
from operators.shoppers.profile import price_currency
from state import keys
from state.messages import BatchId, Part, Regrouped, Visited
from state.snapshots import DEVICES, USERS, DevicesState, UsersState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.shards.cold_tier import Archive
    from operators.shards.processor import Rules
    from state.events import Event
    from state.journal import Journals
    from state.messages import Group, Move


ORDERING_SHARD = 0
"""The shard of devices whose order of batches is everybody's: batches of several partitions come to each
shard in an order of their own, but what shards tell of one shopper must come out in one."""


def shard_of(name: str, shards: int) -> int:
    """The shard that keeps a shopper or a device. Stored: the rule must not change."""
    return zlib.crc32(name.encode()) % shards


class Watermark:
    """How far event time has come for sure over all partitions of the source.

    `partitions` maps each to its own watermark (ms) and whether it holds nothing back: it was read to
    its end, or is idle; `batches` to how many batches have come from it: every batch comes to
    every shard, be it empty, and a start relies on that (`flows.recovery.checkpoint_reader`).
    """

    def __init__(
        self, partitions: dict[str, tuple[int, bool]], batches: dict[str, int] | None = None
    ) -> None:
        self.partitions = partitions
        self.batches = {} if batches is None else batches
        self._reached_ms: int | None = None

    def advance(self, batch: BatchId) -> int:
        """Hear of a batch and of those joined with it; how far event time has come then."""
        reached_ms = self._hear(batch)
        for joined in batch.joined:
            reached_ms = self._hear(joined)
        return reached_ms

    def _hear(self, batch: BatchId) -> int:
        """Hear of a partition; the minimum over those that go on, 0 until all have been heard of.

        Where none goes on, it is the maximum. It never goes back: a partition that was idle comes back
        to what was reached without it.

        >>> watermark = Watermark({})
        >>> [watermark._hear(BatchId(*heard)) for heard in (
        ...     ("a", 0, 5, False, 2), ("b", 0, 3, False, 2), ("b", 1, 4, True, 2), ("a", 1, 9, True, 2)
        ... )]
        [0, 3, 5, 9]
        >>> watermark = Watermark({"a": (5, False), "b": (3, False)})
        >>> [watermark._hear(BatchId(*heard)) for heard in (
        ...     ("b", 0, 4, False, 2, True), ("b", 1, 4, False, 2), ("a", 0, 9, False, 2)
        ... )]
        [5, 5, 5]
        """
        reached_ms = self._reached_ms
        if reached_ms is None:
            reached_ms = self._reached(batch.partitions)
        own_ms = max(batch.watermark_ms, reached_ms)
        self.partitions[batch.partition] = (own_ms, batch.last or batch.idle)
        self.batches[batch.partition] = batch.number + 1
        self._reached_ms = self._reached(batch.partitions)
        return self._reached_ms

    @property
    def reached_ms(self) -> int:
        """How far event time has come over those heard of."""
        return self._reached(len(self.partitions)) if self.partitions else 0

    def _reached(self, partitions: int) -> int:
        if len(self.partitions) < partitions:
            return 0
        going_on = [ms for ms, holds_nothing in self.partitions.values() if not holds_nothing]
        return min(going_on) if going_on else max(ms for ms, _ in self.partitions.values())


class DeviceShard:
    """Anonymous shoppers of one shard, and the users its devices belong to.

    Its rows are stored in `journals`; without any, a snapshot holds them all. Those too many go to the
    `archive`; without one, none are.
    """

    def __init__(
        self,
        rules: Rules,
        snapshot: bytes | None = None,
        journals: Journals | None = None,
        archive: Archive | None = None,
    ) -> None:
        state = DevicesState() if snapshot is None else DEVICES.decode(snapshot)
        self._stored = StoredRows("devices", journals)
        loaded = self._stored.load(state)
        rows = loaded.rows
        self.shoppers = processor.Shoppers(
            rules, rows, state.totals, state.rules, step="visit_devices"
        )
        self.links = Links(loaded.links, loaded.known)
        self.erasures = Erasures(rules, loaded.erased, is_unclean=state.is_unclean)
        self.shelf = Shelf(
            keys.device_row_key,
            rules,
            archive,
            self.shoppers,
            self.links,
            idle_ms=rules.idle_ms,
            lineage=state.lineage,
            gone=state.gone,
        )
        self.watermark = Watermark(state.watermarks, state.batches)
        undecided_from_ms = state.undecided_from_ms
        if undecided_from_ms is None:
            is_older = snapshot is not None
            undecided_from_ms = is_older * (self.watermark.reached_ms + rules.known_idle_ms)
        self.recognizing = Recognizing(
            self.shoppers,
            self.links,
            self.shelf,
            self.erasures,
            alias_ttl_s=rules.alias_ttl_s,
            undecided_from_ms=undecided_from_ms,
        )
        self._shards = rules.shards
        self._was_watching = False
        self._folded = 0
        self._is_over = False

    @property
    def rows_held(self) -> int:
        """Shoppers in memory."""
        return len(self.shoppers.rows)

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        shoppers, watermark = self.shoppers, self.watermark
        state = DevicesState({}, {}, watermark.partitions, shoppers.totals, None, watermark.batches)
        state.lineage, state.gone = self.shelf.lineage, self.shelf.gone
        state.rules = shoppers.stored_rules()
        erasures = self.erasures
        anew = erasures.take_due(watermark.reached_ms, last=self._is_over)
        state.journal = self._stored.store(shoppers, erasures, self.links, anew=anew)
        state.is_unclean = erasures.is_unclean
        state.undecided_from_ms = self.recognizing.undecided_from_ms
        if state.journal is None:
            state.rows = shoppers.rows
            state.links, state.known = self.links.users, self.links.known
            state.erased = dict(erasures.tombstones.items())
        self.end_epoch()
        return encoded(DEVICES, state, shoppers)

    def end_epoch(self) -> None:
        """What was folded until now will not be folded again."""
        self.shelf.end_epoch()

    def fold_all(self, groups: Iterable[Group]) -> list[Visited]:
        """Fold groups one by one."""
        return [visited for group in groups for visited in self.fold(group)]

    def fold(self, group: Group) -> list[Visited]:
        """Fold a group in order; events of users are handed on in `forwards`."""
        shoppers, totals = self.shoppers, self.shoppers.totals
        self._stored.shard = group.shard
        now_ms, closed = self.watermark.advance(group.batch), totals.sessions_closed
        self._bring_back(group, now_ms)
        shoppers.begin(group.batch, group.shard, now_ms, last=group.batch.last)
        self.recognizing.begin(now_ms)
        named = group.named[::-1]
        for event, position, clock_ms, offset in zip(
            group.events,
            group.position,
            _not_before(now_ms, group),
            group.offset or repeat(NOT_KNOWN),
            strict=False,
        ):
            while named and named[-1][0] <= position:
                self.recognizing.named(*named.pop())
            try:
                self._visit(event, position, clock_ms, offset)
            except Exception as error:
                shoppers.faults.reject(event, error, group.batch, position, offset)
                shoppers.undo(event.anonymous_id or event.user_id or "", event, position)
        while named:
            self.recognizing.named(*named.pop())
        _forget_refusing(shoppers, self.shelf, self.erasures)
        finished = shoppers.finish()
        self.shelf.put_away(finished)
        is_told = group.events or finished.writes or finished.moves
        if is_told or totals.sessions_closed != closed:
            finished.totals[f"devices:{group.shard}"] = copy(totals)
        finished.sources = group.totals
        finished.received_ms = group.received_ms
        if group.shard == ORDERING_SHARD:
            finished.turn = self._folded
        self._folded += 1
        self._is_over = group.batch.last
        return [finished]

    def _bring_back(self, group: Group, now_ms: int) -> None:
        """Have all in memory that a group is about, and know the devices of whom it erases."""
        self.erasures.expire(now_ms)
        names: Iterable[str] = _ids(group)
        if group.erased:
            users = sorted(set(group.erased))
            self.shelf.bring_back_devices(users, self._is_own)
            self.links.watch(users)
            names = filter(self._is_own, [*names, *users])
        elif self._was_watching:
            self.links.watch(())
        self._was_watching = bool(group.erased)
        self.shelf.bring_back(names)

    def _is_own(self, name: str) -> bool:
        return shard_of(name, self._shards) == self._stored.shard

    def _visit(self, event: Event, position: int, clock_ms: int, offset: int) -> None:
        """Fold one event, or hand it on."""
        shoppers, out = self.shoppers, self.shoppers.out
        if event.type == "item":
            for item in event.items:
                out.catalogue.append((event.event_ts, item, price_currency(event)))
            shoppers.totals.accepted += 1
            return
        if event.type == "erase":
            user = self._erase(event)
        elif event.event_ts <= self.erasures.newest_ms and self.erasures.cover_event(event):
            shoppers.totals.suppressed += 1
            return
        else:
            user = self.recognizing.user_of(event, position, clock_ms)
            if user is None:
                name = event.anonymous_id or event.user_id
                assert name is not None
                is_user = event.anonymous_id is None
                shoppers.fold(name, event, position, clock_ms, known=is_user)
        if user is not None:
            out.forwards.append((position, user, event, clock_ms, offset))

    def _erase(self, event: Event) -> str | None:
        """Forget whom the event names, as far as this shard keeps anything of them; the user that the
        shard of users is to forget."""
        device, user, at_ms = event.anonymous_id, event.user_id, event.event_ts
        if device is not None and device != user and self._is_own(device):
            self.recognizing.erase_device(device, at_ms, is_asked=user is None)
        if user is None:
            return None
        return self.recognizing.erase_user(user, at_ms, is_own=self._is_own(user))


class UserShard:
    """Known shoppers of one shard, stored like those of `DeviceShard`."""

    def __init__(
        self,
        rules: Rules,
        snapshot: bytes | None = None,
        journals: Journals | None = None,
        archive: Archive | None = None,
    ) -> None:
        state = UsersState() if snapshot is None else USERS.decode(snapshot)
        self._stored = StoredRows("users", journals)
        held = self._stored.load(state)
        rows = held.rows
        self.shoppers = processor.Shoppers(
            rules, rows, state.totals, state.rules, step="visit_users"
        )
        self.erasures = Erasures(rules, held.erased, is_unclean=state.is_unclean)
        self._is_over = False
        self.shelf = Shelf(
            keys.row_key,
            rules,
            archive,
            self.shoppers,
            idle_ms=rules.known_idle_ms,
            lineage=state.lineage,
            gone=state.gone,
        )
        self.watermark = Watermark(state.watermarks, state.batches)
        # What has come of batches that are not whole, whose turn it is, and how many have been folded.
        # Counted anew after a resume, by all shards: an epoch is complete before its snapshot.
        self._waiting: dict[BatchId, list[Regrouped]] = {}
        self._turns: dict[int, BatchId] = {}
        self._folded = 0

    @property
    def rows_held(self) -> int:
        """Shoppers in memory."""
        return len(self.shoppers.rows)

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        shoppers, watermark = self.shoppers, self.watermark
        state = UsersState({}, watermark.partitions, shoppers.totals, None, watermark.batches)
        state.lineage, state.gone = self.shelf.lineage, self.shelf.gone
        state.rules = shoppers.stored_rules()
        erasures = self.erasures
        anew = erasures.take_due(watermark.reached_ms, last=self._is_over)
        state.journal = self._stored.store(shoppers, erasures, anew=anew)
        state.is_unclean = erasures.is_unclean
        if state.journal is None:
            state.rows, state.erased = shoppers.rows, dict(erasures.tombstones.items())
        self.end_epoch()
        return encoded(USERS, state, shoppers)

    def end_epoch(self) -> None:
        """As for devices."""
        self.shelf.end_epoch()

    def fold_all(self, groups: Iterable[Regrouped]) -> list[Part]:
        """Fold groups one by one."""
        return [part for group in groups for part in self.fold(group)]

    def fold(self, group: Regrouped) -> list[Part]:
        """Fold what came of users in a batch, when it is whole, in the order in which it was read.

        The devices of one user may be kept by different workers, which say their part each. Batches
        take turns, the same everywhere: what is told of a user last is what is true of it.
        """
        self._waiting.setdefault(group.batch, []).append(group)
        if group.turn is not None:
            self._turns[group.turn] = group.batch
        folded: list[Part] = []
        while (batch := self._turns.get(self._folded)) is not None:
            if sum(part.parts for part in self._waiting[batch]) < group.shards:
                break
            del self._turns[self._folded]
            self._folded += 1
            folded.append(self._fold(self._waiting.pop(batch)))
        return folded

    def _fold(self, parts: list[Regrouped]) -> Part:
        group = parts[0]
        self._stored.shard = group.shard
        shoppers = self.shoppers
        now_ms, closed = self.watermark.advance(group.batch), shoppers.totals.sessions_closed
        self.erasures.expire(now_ms)
        shoppers.begin(group.batch, group.shard, now_ms, last=group.batch.last)
        # Also those of events that are not handed on: of a device that is erased, or of none.
        waiting = sorted(chain.from_iterable(part.moves for part in parts), key=_when)[::-1]
        aliases = {position: device for part in parts for position, _, device in part.aliases}
        forwards = [forward for part in parts for forward in part.forwards]
        forwards.sort(key=itemgetter(0))
        moving = [move.shopper for move in waiting]
        self.shelf.bring_back([*map(itemgetter(1), forwards), *moving])
        for position, shopper, event, clock_ms, offset in forwards:
            if clock_ms < now_ms:
                clock_ms = now_ms
            while waiting and waiting[-1].position <= position:
                move = waiting.pop()
                self._join(move, event if move.position == position else None)
            try:
                self._visit(shopper, event, position, clock_ms)
            except Exception as error:
                shoppers.faults.reject(event, error, group.batch, position, offset)
                shoppers.undo(shopper, event, position)
            if position in aliases:
                shoppers.note_device(shopper, aliases[position])
        while waiting:
            self._join(waiting.pop(), None)
        _forget_refusing(shoppers, self.shelf, self.erasures)
        finished = shoppers.finish()
        self.shelf.put_away(finished)
        told = [visited for part in parts for visited in part.passed]
        # Of a small batch most shards of users have nothing to tell.
        is_told = forwards or moving or finished.writes or finished.transitions or finished.faults
        if is_told or shoppers.totals.sessions_closed != closed:
            finished.totals[f"users:{group.shard}"] = copy(shoppers.totals)
            told.append(finished)
        self._is_over = group.batch.last
        return Part(group.batch, group.shard, group.shards, told)

    def _join(self, move: Move, event: Event | None) -> None:
        """Take a shopper over, but for a user who is erased: then it is erased with the user."""
        if self.erasures.cover(move.shopper, move.at_ms):
            self.shoppers.drop(move)
        else:
            self.shoppers.join(move, event)

    def _visit(self, name: str, event: Event, position: int, clock_ms: int) -> None:
        """Fold one event of a user, or forget the user."""
        shoppers, totals, at_ms = self.shoppers, self.shoppers.totals, event.event_ts
        is_erased = at_ms <= self.erasures.newest_ms and self.erasures.cover(name, at_ms)
        if event.type == "erase":
            totals.accepted += not is_erased
            totals.erased += not is_erased
            totals.duplicates += is_erased
            if not is_erased:
                shoppers.erase(name, at_ms)
                self.shelf.forget(name, erased=True)
                shoppers.out.writes += self.erasures.add(name, at_ms)
        elif is_erased:
            totals.suppressed += 1
        else:
            shoppers.fold(name, event, position, clock_ms, known=True)


def _forget_refusing(shoppers: processor.Shoppers, shelf: Shelf, erasures: Erasures) -> None:
    """What is kept elsewhere of those who refuse analytics now is forgotten too."""
    erasures.is_unclean |= bool(shoppers.refusing)
    shelf.forget_all(shoppers.refusing)


def _ids(group: Group) -> Iterator[str]:
    """What a group names that its shard may know of."""
    for event in group.events:
        if (name := event.anonymous_id or event.user_id) is not None:
            yield name
    for _, user_id, _, _ in group.named:
        yield user_id


def _when(move: Move) -> tuple[int, bool, str]:
    """Moves by the event that led to them, those of one event in an order of their own: the user's own
    shopper first."""
    return move.position, move.anonymous_id != move.shopper, move.anonymous_id


def _not_before(now_ms: int, group: Group) -> list[int]:
    """The watermark at each event; the others' where they went on while this partition was idle."""
    batch = group.batch
    if now_ms <= batch.watermark_ms and all(now_ms <= one.watermark_ms for one in batch.joined):
        return group.clock
    return [max(clock_ms, now_ms) for clock_ms in group.clock]


def regroup(arrived: Iterable[Visited], shards: int) -> list[Regrouped]:
    """Deal what device shards made of a batch to the shards of users, one message each."""
    batches: dict[BatchId, list[Visited]] = {}
    for visited in arrived:
        batches.setdefault(visited.batch, []).append(visited)
    return [message for parts in batches.values() for message in _deal(parts, shards)]


def _deal(parts: list[Visited], shards: int) -> list[Regrouped]:
    batch = parts[0].batch
    dealt = [Regrouped(batch, shard, len(parts), shards, [], [], []) for shard in range(shards)]
    for part in parts:
        for forward in part.forwards:
            dealt[shard_of(forward[1], shards)].forwards.append(forward)
        for move in part.moves:
            dealt[shard_of(move.shopper, shards)].moves.append(move)
        for alias in part.aliases:
            dealt[shard_of(alias[1], shards)].aliases.append(alias)
        part.forwards, part.moves, part.aliases = [], [], []
        dealt[part.shard].passed.append(part)
        if part.turn is not None:
            for message in dealt:
                message.turn = part.turn
    return dealt
