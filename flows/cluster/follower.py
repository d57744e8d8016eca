"""The start of processes 1 and up in a run across hosts: they wait until process 0 admits them."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from flows.cluster.dependencies import wait_for_log
from flows.recovery.folder import open_shared_remote
from flows.recovery.owner import read_fence
from state.store import Fence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flows.cluster.rendezvous import Rendezvous
    from flows.cluster.run_context import RunContext
    from flows.recovery.folder import RecoveryStore
    from flows.sources.live_source import LiveSource


@contextmanager
def follow_leader(
    rendezvous: Rendezvous, source: LiveSource, context: RunContext, folder: Path
) -> Iterator[tuple[RecoveryStore, Fence] | None]:
    """Give the recovery store and the fence of process 0; None if the run was asked to stop first.

    Raises UserError.
    """
    settings = context.settings
    while (leader := rendezvous.find_leader()) is not None:
        source.known_partitions = leader.partitions
        fence = Fence(settings.kafka.group, leader.token)
        if not wait_for_log(source, context):
            break
        if not rendezvous.wait_for(
            lambda fence=fence: _has_fence(folder, fence),  # type: ignore[misc]
            f"the fence of process 0 in recovery folder {folder}: do all hosts share its volume",
        ):
            break
        if rendezvous.wait_until_admitted(leader):
            with open_shared_remote(folder, settings) as recovery_store:
                yield recovery_store, fence
            return
    yield None


def _has_fence(folder: Path, fence: Fence) -> bool:
    with suppress(OSError, msgspec.DecodeError):
        return read_fence(folder).token >= fence.token
    return False
