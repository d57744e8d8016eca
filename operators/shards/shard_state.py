"""What a shard stores of its rows: those that changed since the last snapshot, in its journal.

Where there is no journal the snapshot holds all rows itself, as in the first release; such a one is
read too, and the next begins a journal.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from operators.shards.processor import is_storable
from state.snapshots import ROWS, DevicesState, RowsState, SnapshotCodec, UsersState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.shards.erasures import Erasures
    from operators.shards.identity_map import Links
    from operators.shards.processor import Shoppers
    from state.journal import Handle, Journal, Journals
    from state.shopper import Shopper

S = TypeVar("S", RowsState, DevicesState, UsersState)
_ROWS_A_RECORD = 1000


class StoredRows:
    """The journal of one shard's shoppers and links, if there are `journals`.

    `shard` names the file; it is known from the first message on.
    """

    def __init__(self, kind: str, journals: Journals | None) -> None:
        self.shard: int | None = None
        self._kind = kind
        self._journals = journals
        self._journal: Journal | None = None

    def load(self, state: DevicesState | UsersState) -> RowsState:
        """Shoppers, links, known users and tombstones; SnapshotError where the journal is damaged."""
        handle = state.journal
        if handle is None:
            held = RowsState(rows=state.rows, erased=state.erased)
            if isinstance(state, DevicesState):
                held.links, held.known = state.links, state.known
            return held
        assert self._journals is not None
        self._journal, records = self._journals.open(handle)
        return rows_of(records)

    def store(
        self,
        shoppers: Shoppers,
        erasures: Erasures,
        links: Links | None = None,
        *,
        anew: bool = False,
    ) -> Handle | None:
        """Write what changed, or everything where the changes outweigh it; None without journals.

        `anew`: everything, since the journal names who was erased. Whoever asks forgets then what had
        changed.
        """
        erased = erasures.tombstones.take_changed()
        if self._journal is None:
            if self._journals is None or self.shard is None:
                return None
            self._journal = self._journals.new(f"{self._kind}-{self.shard}")
            self._journal.rewrite(_everything(shoppers, erasures, links))
        elif anew or self._journal.is_due:
            self._journal.rewrite(_everything(shoppers, erasures, links))
        elif shoppers.changed or (links is not None and links.changed) or erased:
            changes = _changes(shoppers, links)
            changes.erased = erased
            self._journal.append(encoded(ROWS, changes, shoppers))
        return self._journal.handle


def rows_of(records: Iterable[bytes]) -> RowsState:
    """The shoppers, links, known users and tombstones that a journal's records come to."""
    erased: dict[bytes, int] = {}
    rows: dict[str, Shopper] = {}
    links: dict[str, tuple[str, int]] = {}
    known: dict[str, int] = {}
    for record in records:
        change = ROWS.decode(record)
        rows.update(change.rows)
        links.update(change.links)
        known.update(change.known)
        erased.update(change.erased)
        for name in change.gone:
            rows.pop(name, None)
        for name in change.unlinked:
            links.pop(name, None)
        for name in change.unknown:
            known.pop(name, None)
    live = {mark: at_ms for mark, at_ms in erased.items() if at_ms}
    return RowsState(rows=rows, links=links, known=known, erased=live)


def _changes(shoppers: Shoppers, links: Links | None) -> RowsState:
    rows, changed = shoppers.rows, shoppers.changed
    state = RowsState(
        {name: rows[name] for name in changed if name in rows},
        [name for name in changed if name not in rows],
    )
    if links is not None:
        users, known = links.users, links.known
        for name in links.changed:
            if name in users:
                state.links[name] = users[name]
            else:
                state.unlinked.append(name)
            if name in known:
                state.known[name] = known[name]
            else:
                state.unknown.append(name)
    return state


def storable(shoppers: Shoppers, rows: dict[str, Shopper]) -> dict[str, Shopper]:
    """The rows that a snapshot can hold: all, but for one that a fault of ours made unfit for it.

    What was stored of such a one before stands.
    """
    kept = {name: one for name, one in rows.items() if is_storable(one)}
    for name in sorted(rows.keys() - kept.keys()):
        shoppers.faults.note("snapshot", name)
    return kept


def encoded(codec: SnapshotCodec[S], state: S, shoppers: Shoppers) -> bytes:
    """The bytes of a state with `rows`, of those at least that can be stored."""
    try:
        return codec.encode(state)
    except Exception:
        return codec.encode(msgspec.structs.replace(state, rows=storable(shoppers, state.rows)))


def _everything(shoppers: Shoppers, erasures: Erasures, links: Links | None) -> Iterator[bytes]:
    if len(erasures.tombstones):
        yield ROWS.encode(RowsState(erased=dict(erasures.tombstones.items())))
    rows = iter(shoppers.rows.items())
    while some := dict(islice(rows, _ROWS_A_RECORD)):
        yield encoded(ROWS, RowsState(rows=some), shoppers)
    if links is None:
        return
    users = iter(links.users.items())
    while linked := dict(islice(users, _ROWS_A_RECORD)):
        yield ROWS.encode(RowsState(links=linked))
    known = iter(links.known.items())
    while found := dict(islice(known, _ROWS_A_RECORD)):
        yield ROWS.encode(RowsState(known=found))
