"""What the other processes of a run across hosts do until process 0 calls them
(`flows.cluster.rendezvous`)."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from flows.cluster.dependencies import kafka_answers
from flows.cluster.leadership import fence_in
from flows.recovery.folder import joined_from_afar
from state.store import Fence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event as Flag

    from flows.cluster.rendezvous import Meeting
    from flows.kafka.source import KafkaSource
    from flows.recovery.folder import Stored
    from state.config import Settings


@contextmanager
def following(
    meeting: Meeting, source: KafkaSource, settings: Settings, stop: Flag, folder: Path
) -> Iterator[tuple[Stored, Fence] | None]:
    """What process 0 has made ready, while inside; None: `stop` came first. Raises UserError."""
    while (leader := meeting.find_leader()) is not None:
        source.stored = leader.partitions
        fence = Fence(settings.kafka.group, leader.token)
        if not kafka_answers(source, stop):
            break
        if not meeting.wait_for(
            lambda fence=fence: _shows(folder, fence),  # type: ignore[misc]
            f"what process 0 wrote in recovery folder {folder}: is it one that all hosts see",
        ):
            break
        if meeting.join(leader):
            with joined_from_afar(folder, settings) as stored:
                yield stored, fence
            return
    yield None


def _shows(folder: Path, fence: Fence) -> bool:
    with suppress(OSError, msgspec.DecodeError):
        return fence_in(folder).token >= fence.token
    return False
