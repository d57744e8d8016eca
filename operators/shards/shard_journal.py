"""The journal of a shard: the rows that changed since the last snapshot.

Without a journal the snapshot holds all rows itself, as in the first release. Such a snapshot can be
read too, and the next one begins a journal.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from operators.events.processing_errors import FATAL_ERRORS
from state.snapshots import SHARD_RECORD_CODEC, DevicesState, ShardRecord, SnapshotCodec, UsersState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.shards.erasures import Erasures
    from operators.shards.identity_map import IdentityMap
    from operators.shards.shard_shoppers import ShardShoppers
    from state.journal import Journal, Journals
    from state.journal_files import JournalPosition
    from state.shopper import Shopper

S = TypeVar("S", ShardRecord, DevicesState, UsersState)
_ROWS_PER_RECORD = 1000


class ShardJournal:
    """Stores the shoppers, links and tombstones of one shard; does nothing without `journals`.

    `shard` is part of the file name. It is known from the first message on.
    """

    def __init__(self, kind: str, journals: Journals | None) -> None:
        self.shard: int | None = None
        self._kind = kind
        self._journals = journals
        self._journal: Journal | None = None

    def load(self, state: DevicesState | UsersState) -> ShardRecord:
        """The shoppers, links, known users and tombstones; SnapshotError for a damaged journal."""
        position = state.journal
        if position is None:
            loaded = ShardRecord(rows=state.rows, erased=state.erased)
            if isinstance(state, DevicesState):
                loaded.links, loaded.known = state.links, state.known
            return loaded
        assert self._journals is not None
        self._journal, records = self._journals.open(position)
        return read_rows(records)

    def store(
        self,
        shoppers: ShardShoppers,
        erasures: Erasures,
        identity_map: IdentityMap | None = None,
        *,
        rewrite: bool = False,
    ) -> JournalPosition | None:
        """Append what changed, or rewrite the journal when it has grown; None without journals.

        `rewrite` asks for a rewrite, since the journal holds erased ids. The caller resets the sets of
        changed names afterwards.
        """
        erased = erasures.tombstones.take_changed()
        if self._journal is None:
            if self._journals is None or self.shard is None:
                return None
            self._journal = self._journals.new(f"{self._kind}-{self.shard}")
            self._journal.compact(_all_records(shoppers, erasures, identity_map))
        elif rewrite or self._journal.needs_compaction:
            self._journal.compact(_all_records(shoppers, erasures, identity_map))
        elif (
            shoppers.dirty_names or (identity_map is not None and identity_map.dirty_ids) or erased
        ):
            changes = _changes(shoppers, identity_map)
            changes.erased = erased
            self._journal.append(encode_state(SHARD_RECORD_CODEC, changes, shoppers))
        return self._journal.position


def read_rows(records: Iterable[bytes]) -> ShardRecord:
    """The shoppers, links, known users and tombstones after all records of a journal."""
    erased: dict[bytes, int] = {}
    rows: dict[str, Shopper] = {}
    links: dict[str, tuple[str, int]] = {}
    known_users: dict[str, int] = {}
    for record in records:
        record_state = SHARD_RECORD_CODEC.decode(record)
        rows.update(record_state.rows)
        links.update(record_state.links)
        known_users.update(record_state.known)
        erased.update(record_state.erased)
        for name in record_state.gone:
            rows.pop(name, None)
        for name in record_state.unlinked:
            links.pop(name, None)
        for name in record_state.unknown:
            known_users.pop(name, None)
    live = {id_hash: at_ms for id_hash, at_ms in erased.items() if at_ms}
    return ShardRecord(rows=rows, links=links, known=known_users, erased=live)


def _changes(shoppers: ShardShoppers, identity_map: IdentityMap | None) -> ShardRecord:
    rows, dirty_names = shoppers.rows, shoppers.dirty_names
    state = ShardRecord(
        {name: rows.read(name) for name in dirty_names if name in rows},
        [name for name in dirty_names if name not in rows],
    )
    if identity_map is not None:
        user_links, known_users = identity_map.links, identity_map.known_users
        for name in identity_map.dirty_ids:
            if name in user_links:
                state.links[name] = user_links[name]
            else:
                state.unlinked.append(name)
            if name in known_users:
                state.known[name] = known_users[name]
            else:
                state.unknown.append(name)
    return state


def storable_rows(shoppers: ShardShoppers, rows: dict[str, Shopper]) -> dict[str, Shopper]:
    """The rows that can be encoded: all, unless a bug has put a wrong value into one.

    What was stored of such a row before stays in the journal.
    """
    stored_rows = {name: shopper for name, shopper in rows.items() if is_storable(shopper)}
    for name in sorted(rows.keys() - stored_rows.keys()):
        shoppers.processing_errors.record("snapshot", name)
    return stored_rows


def is_storable(shopper: Shopper) -> bool:
    """Whether a snapshot can hold a row."""
    try:
        msgspec.msgpack.encode(shopper)
    except FATAL_ERRORS:
        raise
    except Exception:
        return False
    return True


def encode_state(codec: SnapshotCodec[S], state: S, shoppers: ShardShoppers) -> bytes:
    """Encode a state that has `rows`; if that fails, without the rows that cannot be encoded."""
    shoppers.attach_rule_states(state.rows)
    try:
        return codec.encode(state)
    except FATAL_ERRORS:
        raise
    except Exception:
        return codec.encode(
            msgspec.structs.replace(state, rows=storable_rows(shoppers, state.rows))
        )
    finally:
        shoppers.detach_rule_states(state.rows)


def _all_records(
    shoppers: ShardShoppers, erasures: Erasures, identity_map: IdentityMap | None
) -> Iterator[bytes]:
    if len(erasures.tombstones):
        yield SHARD_RECORD_CODEC.encode(ShardRecord(erased=dict(erasures.tombstones.items())))
    rows = shoppers.rows.read_items()
    while row_chunk := dict(islice(rows, _ROWS_PER_RECORD)):
        yield encode_state(SHARD_RECORD_CODEC, ShardRecord(rows=row_chunk), shoppers)
    if identity_map is None:
        return
    link_items = iter(identity_map.links.items())
    while link_chunk := dict(islice(link_items, _ROWS_PER_RECORD)):
        yield SHARD_RECORD_CODEC.encode(ShardRecord(links=link_chunk))
    known_items = iter(identity_map.known_users.items())
    while known_chunk := dict(islice(known_items, _ROWS_PER_RECORD)):
        yield SHARD_RECORD_CODEC.encode(ShardRecord(known=known_chunk))
