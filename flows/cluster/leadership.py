"""The lease of the writer: one run at a time may write under the name of its consumer group.

The process that has locked the recovery folder takes the lease under the folder's id
(`flows/recovery/owner.py`) and stores its token in the folder, where the other processes of the run
find it.
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from flows.process.exit_codes import EXIT_USER_ERROR
from flows.recovery.owner import owner_id, write_fence
from state.store import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.cluster.run_context import RunContext
    from state.store import Fence

_log = logging.getLogger("penstock.lease")


@contextmanager
def writer_lease(context: RunContext, previous_fence: Fence | None = None) -> Iterator[Lease]:
    """Hold the lease while inside. The caller has locked the recovery folder, if there is one.

    Raises UserError if another run holds the lease, or has held it since this one wrote under
    `previous_fence`, or Redis does not answer.
    """
    settings, folder = context.settings, context.recovery_folder
    lease = Lease(
        context.redis_url,
        settings.kafka.group,
        owner_id(folder) if folder else uuid.uuid4().hex,
        settings.run.lease_s,
        timeout_ms=settings.redis.timeout_ms,
    )
    lease.acquire(previous_fence)
    try:
        if folder is not None:
            write_fence(folder, lease.fence)
        yield lease
    finally:
        lease.release()


def exit_on_lease_loss(lease: Lease) -> None:
    """End this process at once, as in a crash, when another run takes over the lease."""

    def watch() -> None:
        lease.lost.wait()
        _log.error("%s", lease.lost_error(), extra={"event": "lease_lost"})
        os._exit(EXIT_USER_ERROR)

    Thread(target=watch, name="lease-lost", daemon=True).start()
