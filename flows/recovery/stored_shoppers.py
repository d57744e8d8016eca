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
from operators.shards.shard_state import read_rows
from operators.shards.sharding import Watermark, shard_of
from state import journal
from state.errors import RecoveryError
from state.snapshots import DevicesState, ShardRulesState, UsersState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from state.config import Settings
    from state.shopper import Shopper

_ATTEMPTS = 5


class StoredShoppers(NamedTuple):
    """Those of some shards; `total` is how many there are in all, as the shards read have it.

    `event_time_ms` is how far event time has come for everybody, `rules_state` what rules have
    kept of events.
    """

    rows: dict[str, Shopper]
    total: int
    event_time_ms: int
    rules_state: ShardRulesState


def stored_shoppers(
    folder: Path, settings: Settings, shards: Collection[int] | None = None
) -> StoredShoppers:
    """Read shoppers of these shards, of all for None. Raises UserError where there is nothing.

    A journal may be written anew meanwhile, and the one before it deleted: then it begins again.
    """
    for _ in range(_ATTEMPTS):
        with suppress(RecoveryError):
            return _read(folder, settings, shards)
    return _read(folder, settings, shards)


def stored_shopper(folder: Path, settings: Settings, name: str) -> StoredShoppers:
    """The shard of one shopper."""
    return stored_shoppers(folder, settings, {shard_of(name, settings.sessions.shards)})


def _read(folder: Path, settings: Settings, shards: Collection[int] | None) -> StoredShoppers:
    store = folder / "store"
    if not store.exists():
        raise RecoveryError(f"{folder}: no recovery folder of a run: name it with --recovery DIR")
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        copy = Path(name)
        backup.copy_store(store, copy)
        checkpoint = checkpoint_reader.read_checkpoint(copy, shards=settings.sessions.shards)
    rows: dict[str, Shopper] = {}
    event_time_ms, rules_state = 0, ShardRulesState()
    for (_, key), state in checkpoint.states.items():
        if not isinstance(state, DevicesState | UsersState):
            continue
        watermark_ms = Watermark(state.watermarks).reached_ms
        if watermark_ms:
            event_time_ms = max(event_time_ms, watermark_ms + settings.sessions.allowed_lateness_ms)
        if state.rules.windows:
            rules_state = state.rules
        if shards is None or int(key) in shards:
            rows |= state.rows if state.journal is None else dict(_read_rows(folder, state.journal))
    scale = 1.0 if shards is None else settings.sessions.shards / len(shards)
    return StoredShoppers(rows, round(len(rows) * scale), event_time_ms, rules_state)


def _read_rows(folder: Path, position: journal.JournalPosition) -> Iterator[tuple[str, Shopper]]:
    return iter(read_rows(journal.read(folder / "rows", position)).rows.items())
