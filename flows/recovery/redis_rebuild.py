"""Redis is a serving copy: one that came back empty, or as it was before, is told everything again.

A marker in Redis (`state.store.write_marker`) and a file in the recovery folder say the same:
whose state is
there, and a count that grows every second. Before a flow begins the two are compared; while it runs a
thread goes on comparing. Where Redis falls behind, the flow ends and begins again, and what it has
stored is told before it goes on.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from flows.cluster.leadership import holder_of, write
from flows.process.background import beside
from flows.process.privacy_key import privacy_key
from flows.recovery import checkpoint_reader
from operators.personalize.rebuild import retold
from operators.shards.processor import Rules
from state.errors import UserError
from state.snapshots import DevicesState, LearnedState, UsersState
from state.store import Marker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from state.config import Settings
    from state.journal import Journals
    from state.store import Store

EVERY_S = 1.0
FILE = "told"

_log = logging.getLogger("penstock.redis")


def make_whole(
    store: Store,
    settings: Settings,
    folder: Path,
    journals: Journals,
    going_on: Callable[[], None],
) -> None:
    """Tell Redis all that is stored, if it does not hold that; where no flow has the folder open.

    `going_on` is called now and then; what it raises ends this. Raises UserError.
    """
    told = _count(folder)
    marker = Marker(store, holder_of(folder))
    found = marker.read()
    if found is not None and found >= told:
        return
    states = checkpoint_reader.read_cut(
        folder / "store", shards=settings.sessions.shards
    ).states.values()
    learned = [state for state in states if isinstance(state, LearnedState)]
    shards = [state for state in states if isinstance(state, DevicesState | UsersState)]
    while True:
        marker.begin()
        if learned:
            _log.warning(
                "Redis at %s does not hold what this run has written (emptied, set back, a new "
                "one, or another run's): it is told everything again",
                store.address,
            )
            rules = Rules.of(
                settings.sessions,
                settings.profiles,
                settings.state,
                settings.lifecycle,
                propensity=settings.propensity,
                privacy=settings.privacy,
                privacy_key=privacy_key(),
            )
            for writes in retold(settings, rules, learned[0], shards, journals):
                going_on()
                store.send(writes)
            store.settle()
        if marker.write(told):
            break
    if learned:
        _log.warning("Redis at %s holds everything again", store.address)


@contextmanager
def watched(store: Store, folder: Path, lost: Callable[[], None]) -> Iterator[None]:
    """Look every second, in a thread, whether Redis still holds what was written; `lost` if not."""

    def watch(over: Event) -> None:
        told = _count(folder)
        marker = Marker(store, holder_of(folder))
        while not over.wait(EVERY_S):
            # Whoever writes waits for a Redis that is away, and says so.
            with suppress(UserError):
                found = marker.read()
                if found is None or found < told or not marker.write(found + 1):
                    _log.warning("Redis at %s has lost what was written to it", store.address)
                    lost()
                    return
                told = found + 1
                write(folder / FILE, str(told).encode())

    try:
        with beside("redis-marker", watch):
            yield
    finally:
        store.client.close()


def _count(folder: Path) -> int:
    with suppress(OSError, ValueError):
        return int((folder / FILE).read_text())
    return 0
