"""Reads shoppers from the recovery folder of a run, also while the run is live.

The state is at most an epoch old. Do not call this in the process of the run itself
(`checkpoint_reader` gives the reason).
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows.recovery import backup, checkpoint_reader
from operators.shards.shard_journal import read_rows
from operators.shards.sharding import shard_of
from operators.shards.watermark import Watermark
from state import journal_files
from state.errors import RecoveryError
from state.snapshots import DevicesState, ShardRulesState, UsersState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from state.config import Settings
    from state.shopper import Shopper

_ATTEMPTS = 5


class StoredShoppers(NamedTuple):
    """The shoppers of some shards; `total` estimates the number in all shards from these.

    `event_time_ms` is the newest complete event time, `rules_state` the state of the segment rules.
    """

    rows: dict[str, Shopper]
    total: int
    event_time_ms: int
    rules_state: ShardRulesState


def stored_shoppers(
    folder: Path, settings: Settings, shards: Collection[int] | None = None
) -> StoredShoppers:
    """Read the shoppers of these shards, of all for None. Raises UserError if nothing is stored.

    A journal may be compacted and its old file deleted meanwhile: then the read is repeated.
    """
    for _ in range(_ATTEMPTS):
        with suppress(RecoveryError):
            return _read(folder, settings, shards)
    return _read(folder, settings, shards)


def stored_shopper(folder: Path, settings: Settings, name: str) -> StoredShoppers:
    """Read the shard of one shopper."""
    return stored_shoppers(folder, settings, {shard_of(name, settings.sessions.shards)})


def _read(folder: Path, settings: Settings, shards: Collection[int] | None) -> StoredShoppers:
    store = folder / "store"
    if not store.exists():
        raise RecoveryError(
            f"{folder}: not the recovery folder of a run: name it with --recovery DIR"
        )
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
        if shards is None or int(key) % settings.sessions.shards in shards:
            rows |= state.rows if state.journal is None else dict(_read_rows(folder, state.journal))
    scale = 1.0 if shards is None else settings.sessions.shards / len(shards)
    return StoredShoppers(rows, round(len(rows) * scale), event_time_ms, rules_state)


def _read_rows(
    folder: Path, position: journal_files.JournalPosition
) -> Iterator[tuple[str, Shopper]]:
    return iter(read_rows(journal_files.read(folder / "rows", position)).rows.items())
