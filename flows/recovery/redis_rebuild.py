"""Rebuilds Redis, the serving copy, when it came back empty or with old content.

A marker in Redis (`state/store/write_marker.py`) and a file in the recovery folder agree: they name
the recovery folder, and a count that grows every second. They are compared before a flow starts,
and by a thread while it runs. If Redis is behind, the flow ends, all stored state is written to
Redis, and the flow resumes.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from flows.process.background import background_thread
from flows.process.privacy_key import read_privacy_key
from flows.recovery import checkpoint_reader
from flows.recovery.owner import owner_id, write_file
from operators.kpis.step import KpiStep
from operators.personalize.rebuild import rebuild
from operators.shards.config import ProcessorConfig
from state.errors import StoreError
from state.kpis import KpiState
from state.snapshots import (
    KPIS_CODEC,
    ClustersState,
    DevicesState,
    ItemsState,
    LearnState,
    PropensityState,
    UsersState,
)
from state.store import WriteMarker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from threading import Event

    from state.config import Settings
    from state.journal import Journals
    from state.messages import Write
    from state.store import Store

INTERVAL_S = 1.0
COUNT_FILE = "told"  # stored when a rebuild was called so

_log = logging.getLogger("penstock.redis")


def rebuild_if_stale(
    store: Store,
    settings: Settings,
    folder: Path,
    journals: Journals,
    check_stop: Callable[[], None],
) -> None:
    """Write all stored state to Redis if Redis is not current. No flow may have the folder open.

    `check_stop` is called regularly; an exception from it ends the rebuild. Raises UserError.
    """
    count = _read_count(folder)
    marker = WriteMarker(store, owner_id(folder))
    if (redis_count := marker.read()) is not None and redis_count >= count:
        return
    states = checkpoint_reader.read_checkpoint(
        folder / "store", shards=settings.sessions.shards
    ).states.values()
    learn_states = [state for state in states if isinstance(state, LearnState)]
    clusters = next((state for state in states if isinstance(state, ClustersState)), None)
    items = next((state for state in states if isinstance(state, ItemsState)), None)
    propensity = next((state for state in states if isinstance(state, PropensityState)), None)
    shard_states = [state for state in states if isinstance(state, DevicesState | UsersState)]
    while True:
        marker.begin_rebuild()
        if learn_states:
            _log.warning(
                "Redis at %s does not have what this run has written (it was emptied, restored, "
                "replaced, or belongs to another run): everything is written again",
                store.address,
            )
            processor_config = ProcessorConfig.from_config(
                settings.sessions,
                settings.profiles,
                settings.state,
                settings.lifecycle,
                propensity=settings.propensity,
                privacy=settings.privacy,
                privacy_key=read_privacy_key(),
            )
            for writes in rebuild(
                settings,
                processor_config,
                learn_states[0],
                clusters,
                items,
                propensity,
                shard_states,
                journals,
            ):
                check_stop()
                store.send(writes)
            for writes in _kpi_writes(states, settings, journals):
                check_stop()
                store.send(writes)
            store.flush()
        if marker.write(count):
            break
    if learn_states:
        _log.warning("Redis at %s is complete again", store.address)


def _kpi_writes(
    states: Iterable[object], settings: Settings, journals: Journals
) -> Iterator[list[Write]]:
    """The key figures, where the folder has any."""
    for state in states:
        if isinstance(state, KpiState):
            yield from KpiStep(settings, KPIS_CODEC.encode(state), journals).writes()


@contextmanager
def monitor_marker(store: Store, folder: Path, on_data_loss: Callable[[], None]) -> Iterator[None]:
    """Check every second, in a thread, that Redis has not lost data; else call `on_data_loss`."""

    def monitor(stop: Event) -> None:
        count = _read_count(folder)
        marker = WriteMarker(store, owner_id(folder))
        while not stop.wait(INTERVAL_S):
            # The sink waits while Redis is away, and logs that.
            with suppress(StoreError):
                redis_count = marker.read()
                if redis_count is None or redis_count < count or not marker.write(redis_count + 1):
                    _log.warning("Redis at %s has lost data that was written to it", store.address)
                    on_data_loss()
                    return
                count = redis_count + 1
                write_file(folder / COUNT_FILE, str(count).encode())

    try:
        with background_thread("redis-marker", monitor):
            yield
    finally:
        store.client.close()


def _read_count(folder: Path) -> int:
    with suppress(OSError, ValueError):
        return int((folder / COUNT_FILE).read_text())
    return 0
