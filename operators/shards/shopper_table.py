"""The shoppers of one shard: one table of columns, and single shoppers as structs where they change.

A shopper is at any time either a row of the columns, where the compiled fold changes it, or a
`Shopper` that the slow path changes in place (merges, consent, refunds, eviction). Getting a shopper
checks it out: it is a struct until the fold checks it in again. `read` copies a shopper and leaves it
where it is. What is stored are structs: the columns may be changed freely.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, MutableMapping
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar, overload

import numpy as np

from operators.kernels import fold_rows
from operators.kernels import shopper_columns as c
from operators.shards.active_rows import NO_ROWS, ActiveRows
from operators.shards.rare_fields import NOTHING
from operators.shards.row_codec import decode_row, encode_row
from operators.shoppers import orders
from operators.shoppers.id_hashes import HASH_BYTES, id_hash
from operators.tables.array_ops import grow
from state.shopper import Shopper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from operators.kernels.shopper_columns import Table
    from operators.shards.rare_fields import Rare
    from operators.tables.texts import TextPool
    from state.events import Event

D = TypeVar("D")
_ROWS_MIN = 64
_pack_outcome = Struct("<qq?").pack


class ClosedSessions(NamedTuple):
    """How many sessions were closed; by row, what came of the decisions in each
    (`Session.decision_outcomes`); the rows that have sessions that go on."""

    closed: int
    outcomes: dict[int, list[bytes]]
    still_open: set[int]


class ShopperTable(MutableMapping[str, Shopper]):
    """Shoppers by id. `texts` has the categories and currencies of all of them.

    `on_check_out` is called with each shopper that becomes a struct: what finds rows by their columns
    (ends of sessions) does not find structs.
    """

    def __init__(
        self,
        texts: TextPool,
        shoppers: dict[str, Shopper],
        *,
        gap_ms: int,
        hashes_max: int,
        on_check_out: Callable[[str, Shopper], None],
    ) -> None:
        self.texts = texts
        texts.add_holder(self)
        self.structs = shoppers
        self.row_of: dict[str, int] = {}
        self.names: list[str] = []
        self.rare: dict[int, Rare] = {}
        self._free: list[int] = []
        self._gap_ms = gap_ms
        self._hashes_max = hashes_max
        self._on_check_out = on_check_out
        self._next_end_ms = c.NEVER_MS
        self.counters = np.zeros((0, c.COLUMNS), np.int64)
        # Single cells are read and written through this: a quarter of the time that NumPy takes.
        self._cells = self.counters.reshape(-1).data
        self.ends_ms = np.zeros(0, np.int64)
        self._sessions = np.zeros((_ROWS_MIN, c.SESSION_COLUMNS), np.int64)
        self._hashes = np.zeros((_ROWS_MIN, 2), np.int64)
        self._codes = np.zeros((_ROWS_MIN, 1), np.int64)
        self._weights = np.zeros(_ROWS_MIN)
        self._heap = np.zeros((3, 1 + c.SIZE_CLASSES), np.int64)
        self._heap[:, c.TOP] = 1

    @property
    def arrays(self) -> Table:
        """The table as kernels take it. Read it again after anything was added."""
        return (
            self.counters,
            self._sessions,
            self._hashes,
            self._codes,
            self._weights,
            self._heap,
            self.ends_ms,
            self.texts.content,
            self.texts.begin,
        )

    def active_rows(self, names: Iterable[str]) -> ActiveRows:
        """Those of some shoppers that are rows now, with what is published of them."""
        rows = {name: row for name in names if (row := self.row_of.get(name)) is not None}
        if not rows:
            return NO_ROWS
        return ActiveRows.of(self.arrays, rows, self.texts, self.rare)

    def used_codes(self) -> NDArray[np.int64]:
        """The codes of texts in the columns, for the pool."""
        rows, cells = self._code_places()
        return np.concatenate([self.counters[rows, c.CURRENCY], self._codes[cells, 0]])

    def recode(self, new_codes: NDArray[np.int64]) -> None:
        """Write the new codes of texts."""
        rows, cells = self._code_places()
        self.counters[rows, c.CURRENCY] = new_codes[self.counters[rows, c.CURRENCY]]
        self._codes[cells, 0] = new_codes[self._codes[cells, 0]]

    def _code_places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of shoppers, and the cells of the pool of categories that they use."""
        rows = np.fromiter(self.row_of.values(), np.int64, len(self.row_of))
        counts = self.counters[rows, c.AFFINITIES]
        ends = np.cumsum(counts)
        offsets = np.repeat(self.counters[rows, c.AFFINITIES_AT] - ends + counts, counts)
        return rows, offsets + np.arange(len(offsets))

    # --- As a mapping: every shopper that is given out is checked out. ---

    def __len__(self) -> int:
        return len(self.structs) + len(self.row_of)

    def __iter__(self) -> Iterator[str]:
        yield from [*self.structs, *self.row_of]

    def __contains__(self, name: object) -> bool:
        return name in self.structs or name in self.row_of

    def __getitem__(self, name: str) -> Shopper:
        shopper = self.structs.get(name)
        return self._check_out(name) if shopper is None else shopper

    @overload
    def get(self, name: str) -> Shopper | None: ...
    @overload
    def get(self, name: str, default: Shopper | D) -> Shopper | D: ...
    def get(self, name: str, default: object = None) -> object:
        """The shopper of an id, checked out."""
        shopper = self.structs.get(name)
        if shopper is None and name in self.row_of:
            return self._check_out(name)
        return default if shopper is None else shopper

    def __setitem__(self, name: str, shopper: Shopper) -> None:
        if name in self.row_of:
            self._free_row(name)
        self.structs[name] = shopper

    def __delitem__(self, name: str) -> None:
        if name in self.row_of:
            self._free_row(name)
        else:
            del self.structs[name]

    # --- Between rows and structs. ---

    def read(self, name: str) -> Shopper:
        """A shopper as it is now, which the caller does not change."""
        row = self.row_of.get(name)
        return self.structs[name] if row is None else self._decode(row)

    def read_items(self) -> Iterator[tuple[str, Shopper]]:
        """All shoppers, as `read` gives them."""
        yield from self.structs.items()
        for name, row in self.row_of.items():
            yield name, self._decode(row)

    def last_ms(self, name: str) -> int | None:
        """When a shopper was last seen, None for one that is not here."""
        row = self.row_of.get(name)
        if row is not None:
            return int(self.counters[row, c.LAST_MS])
        shopper = self.structs.get(name)
        return None if shopper is None else shopper.last_ms

    def first_ms(self, name: str) -> int | None:
        """When a shopper was first seen, None for one that is not here."""
        row = self.row_of.get(name)
        if row is not None:
            return self._cells[row * c.COLUMNS + c.FIRST_MS]
        shopper = self.structs.get(name)
        return None if shopper is None else shopper.first_ms

    def is_plain(self, name: str, *, known: bool) -> bool:
        """Whether the fold may count events of a shopper who is here or new: as `known` as the shard
        expects, and one who has refused nothing."""
        row = self.row_of.get(name)
        if row is not None:
            rare = self.rare.get(row)
            is_free = rare is None or not (rare.refused or any(rare.refused_ms))
            return is_free and self._cells[row * c.COLUMNS + c.KNOWN] == known
        shopper = self.structs.get(name)
        return shopper is None or (
            shopper.events > 0
            and shopper.known is known
            and not (shopper.refused or any(shopper.refused_ms))
            and len(shopper.recent_event_hashes) <= HASH_BYTES * self._hashes_max
        )

    def row_for(self, name: str, *, known: bool) -> int:
        """The row of a shopper, who is checked in or begins here."""
        row = self.row_of.get(name)
        if row is not None:
            return row
        shopper = self.structs.get(name)
        if shopper is not None:
            return self._check_in(name, shopper)
        row = self._add_row(name)
        self._cells[row * c.COLUMNS + c.KNOWN] = known
        self._cells[row * c.COLUMNS + c.TICK_PHASE] = zlib.crc32(name.encode())
        return row

    def has_order(self, name: str, order_hash: bytes) -> bool:
        """Whether a shopper's orders have this one, or refunds of it."""
        row = self.row_of.get(name)
        if row is None:
            shopper = self.structs.get(name)
            return shopper is not None and order_hash in shopper.orders
        rare = self.rare.get(row)
        return rare is not None and order_hash in rare.orders

    def add_order(self, name: str, event: Event, retention_ms: int) -> None:
        """Remember an order that was not seen before."""
        assert event.order_id is not None
        order_hash, forget_before_ms = id_hash(event.order_id), event.event_ts - retention_ms
        row = self.row_of[name]
        rare = self.rare.get(row, NOTHING)
        # Changed in place: a copy for each order would take time that grows with its square.
        own = {} if rare.orders is NOTHING.orders else rare.orders
        changed = orders.with_order(own, order_hash, orders.order_of(event), forget_before_ms)
        self.rare[row] = rare._replace(orders=changed)

    def grow_pool(self, pool: int) -> None:
        """Double a pool, since an event found no room in it."""
        pools = [self._sessions, self._hashes, self._codes]
        cells = [len(cells) for cells in pools]
        cells[pool] *= 2
        self._grow_pools(cells)

    def watch_sessions(self, watermark_ms: int) -> None:
        """Note that sessions may have been opened in rows, by events that came under this watermark."""
        self._next_end_ms = min(self._next_end_ms, watermark_ms + self._gap_ms)

    def expired_rows(self, watermark_ms: int) -> list[tuple[int, int]]:
        """The rows with a session that has ended, each after the time at which its first one did."""
        if self._next_end_ms >= watermark_ms:
            return []
        found, next_ms = np.empty((len(self.names), 2), np.int64), np.empty(1, np.int64)
        count = fold_rows.find_expired(
            self.arrays, len(self.names), watermark_ms, self._gap_ms, found, next_ms
        )
        self._next_end_ms = int(next_ms[0])
        return [(ended_ms, row) for ended_ms, row in found[:count].tolist()]

    def close_sessions(self, rows: Sequence[int], watermark_ms: int) -> ClosedSessions:
        """Close the sessions of rows that have ended."""
        numbers = np.array(rows, np.int64)
        before = self.counters[numbers, c.OPEN_SESSIONS]
        outcomes = np.empty((int(before.sum()) * c.DECISIONS_MAX, 5), np.int64)
        decisions = fold_rows.close_sessions(
            self.arrays, numbers, watermark_ms, self._gap_ms, outcomes
        )
        after = self.counters[numbers, c.OPEN_SESSIONS]
        by_row: dict[int, dict[int, bytes]] = {}
        for row, session, ended_ms, event_hash, is_bought in outcomes[:decisions].tolist():
            by_session = by_row.setdefault(row, {})
            outcome = _pack_outcome(ended_ms, event_hash, is_bought)
            by_session[session] = by_session.get(session, b"") + outcome
        return ClosedSessions(
            int((before - after).sum()),
            {row: [*by_session.values()] for row, by_session in by_row.items()},
            {row for row, count in zip(rows, after.tolist(), strict=True) if count},
        )

    def _check_out(self, name: str) -> Shopper:
        shopper = self._decode(self.row_of[name])
        self._free_row(name)
        self.structs[name] = shopper
        self._on_check_out(name, shopper)
        return shopper

    def _check_in(self, name: str, shopper: Shopper) -> int:
        encoded, rare = encode_row(shopper, self.texts, zlib.crc32(name.encode()))
        self._grow_pools(
            [
                int(top) + 2 * len(part) + 8
                for top, part in zip(self._heap[:, c.TOP].tolist(), encoded[1:4], strict=True)
            ]
        )
        row = self._add_row(name)
        fold_rows.store_row(self.arrays, row, *encoded, self._gap_ms)
        self._next_end_ms = min(self._next_end_ms, int(self.ends_ms[row]))
        if rare is not None:
            self.rare[row] = rare
        del self.structs[name]
        return row

    def _decode(self, row: int) -> Shopper:
        return decode_row(self.arrays, row, self.texts, self.rare.get(row))

    def _add_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self.names[row] = name
        else:
            row = len(self.names)
            self.names.append(name)
            if row == len(self.counters):
                self.counters = grow(self.counters, max(row + 1, _ROWS_MIN), 0)
                self._cells = self.counters.reshape(-1).data
                self.ends_ms = grow(self.ends_ms, len(self.counters), c.NEVER_MS)
        self.row_of[name] = row
        return row

    def _free_row(self, name: str) -> None:
        row = self.row_of.pop(name)
        fold_rows.free_row(self.arrays, row)
        self.rare.pop(row, None)
        self.names[row] = ""
        self._free.append(row)

    def _grow_pools(self, cells: list[int]) -> None:
        sessions, hashes, affinities = cells
        self._sessions = grow(self._sessions, sessions, 0)
        self._hashes = grow(self._hashes, hashes, 0)
        self._codes = grow(self._codes, affinities, 0)
        self._weights = grow(self._weights, len(self._codes), 0)
