"""Shoppers as a run has stored them: read from its recovery folder, also while it goes on.

A second old at most. Not in the process of the run itself: SQLite's rule of
`flows.recovery.checkpoint_reader`
holds here too.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows.recovery import backup, checkpoint_reader
from operators.shards.shard_state import rows_of
from operators.shards.sharding import Watermark, shard_of
from state import journal
from state.errors import UserError
from state.snapshots import DevicesState, RulesState, UsersState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from state.config import Settings
    from state.shopper import Shopper

_TRIES = 5


class StoredShoppers(NamedTuple):
    """Those of some shards; `total` is how many there are in all, as the shards read have it.

    `clock_ms` is how far event time has come for everybody, `kept` what rules have kept of events.
    """

    rows: dict[str, Shopper]
    total: int
    clock_ms: int
    kept: RulesState


def stored_shoppers(
    folder: Path, settings: Settings, shards: Collection[int] | None = None
) -> StoredShoppers:
    """Read shoppers of these shards, of all for None. Raises UserError where there is nothing.

    A journal may be written anew meanwhile, and the one before it deleted: then it begins again.
    """
    for _ in range(_TRIES):
        with suppress(UserError):
            return _read(folder, settings, shards)
    return _read(folder, settings, shards)


def stored_shopper(folder: Path, settings: Settings, name: str) -> StoredShoppers:
    """The shard of one shopper."""
    return stored_shoppers(folder, settings, {shard_of(name, settings.sessions.shards)})


def _read(folder: Path, settings: Settings, shards: Collection[int] | None) -> StoredShoppers:
    store = folder / "store"
    if not store.exists():
        raise UserError(f"{folder}: no recovery folder of a run: name it with --recovery DIR")
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        copy = Path(name)
        backup.copy_store(store, copy)
        cut = checkpoint_reader.read_cut(copy, shards=settings.sessions.shards)
    rows: dict[str, Shopper] = {}
    clock_ms, kept = 0, RulesState()
    for (_, key), state in cut.states.items():
        if not isinstance(state, DevicesState | UsersState):
            continue
        reached_ms = Watermark(state.watermarks).reached_ms
        if reached_ms:
            clock_ms = max(clock_ms, reached_ms + settings.sessions.allowed_lateness_ms)
        if state.rules.windows:
            kept = state.rules
        if shards is None or int(key) in shards:
            rows |= state.rows if state.journal is None else dict(_rows(folder, state.journal))
    of_all = 1.0 if shards is None else settings.sessions.shards / len(shards)
    return StoredShoppers(rows, round(len(rows) * of_all), clock_ms, kept)


def _rows(folder: Path, handle: journal.Handle) -> Iterator[tuple[str, Shopper]]:
    return iter(rows_of(journal.read(folder / "rows", handle)).rows.items())
