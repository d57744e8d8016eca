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

import msgspec

from flows.process.exit_codes import EXIT_USER_ERROR
from state import private_files
from state.errors import RecoveryError
from state.store import Fence, Lease

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.config import Settings

OWNER_FILE, FENCE_FILE = "holder", "fence.json"

_log = logging.getLogger("penstock.lease")


@contextmanager
def writer_lease(
    redis_url: str, settings: Settings, folder: Path | None, previous_fence: Fence | None = None
) -> Iterator[Lease]:
    """Hold the lease while inside; `folder` is one that this process has locked.

    Raises UserError if another run holds the lease, or has held it since this one wrote under
    `previous_fence`, or Redis does not answer.
    """
    lease = Lease(
        redis_url,
        settings.kafka.group,
        owner_id(folder) if folder else uuid.uuid4().hex,
        settings.run.lease_s,
        timeout_ms=settings.redis.timeout_ms,
    )
    lease.acquire(previous_fence)
    try:
        if folder is not None:
            write_atomically(folder / FENCE_FILE, msgspec.json.encode(lease.fence))
        yield lease
    finally:
        lease.release()


def owner_id(folder: Path) -> str:
    """The id of a recovery folder, which is created if it has none."""
    path = folder / OWNER_FILE
    if not path.exists():
        write_atomically(path, uuid.uuid4().hex.encode())
    return path.read_text()


def read_fence(folder: Path) -> Fence:
    """The fence under which the processes of the folder's run write."""
    return msgspec.json.decode((folder / FENCE_FILE).read_bytes(), type=Fence)


def exit_on_lease_loss(lease: Lease) -> None:
    """End this process at once, as in a crash, when another run takes over the lease."""

    def watch() -> None:
        lease.lost.wait()
        _log.error("%s", lease.lost_error(), extra={"event": "lease_lost"})
        os._exit(EXIT_USER_ERROR)

    Thread(target=watch, name="lease-lost", daemon=True).start()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file of a recovery folder completely or not at all. Raises UserError."""
    staging = path.with_suffix(".begun")
    try:
        private_files.write_atomically(path, content, temporary=staging)
    except OSError as error:
        raise RecoveryError(
            f"recovery folder {path.parent}: {error.strerror}: free disk space, or name a writable "
            "folder"
        ) from error
