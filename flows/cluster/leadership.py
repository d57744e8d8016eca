"""Who may write: one run at a time under the name of its consumer group, by a lease in Redis.

A recovery folder has an id, made at its first start, so that its next run takes over at once from one
that was killed. Whoever holds the folder takes the lease; the other processes of the same run find in
the folder under which token they write.
"""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import msgspec

from state import private_files
from state.errors import UserError
from state.store import Fence, Lease

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.config import Settings

HOLDER, FENCE = "holder", "fence.json"
USER_ERROR = 2

_log = logging.getLogger("penstock.lease")


@contextmanager
def tenure(
    redis_url: str, settings: Settings, folder: Path | None, after: Fence | None = None
) -> Iterator[Lease]:
    """The lease while inside, given back at the end; `folder` is one that this process has locked.

    Raises UserError if another run holds it, or did since this one wrote under `after`, or Redis
    cannot be asked.
    """
    lease = Lease(
        redis_url,
        settings.kafka.group,
        holder_of(folder) if folder else uuid.uuid4().hex,
        settings.run.lease_s,
        timeout_ms=settings.redis.timeout_ms,
    )
    lease.take(after)
    try:
        if folder is not None:
            write(folder / FENCE, msgspec.json.encode(lease.fence))
        yield lease
    finally:
        lease.release()


def holder_of(folder: Path) -> str:
    """The id of a recovery folder, made where it has none."""
    path = folder / HOLDER
    if not path.exists():
        write(path, uuid.uuid4().hex.encode())
    return path.read_text()


def fence_in(folder: Path) -> Fence:
    """What the processes of the run that holds a folder write under."""
    return msgspec.json.decode((folder / FENCE).read_bytes(), type=Fence)


def end_when_lost(lease: Lease) -> None:
    """End this process at once, as in a crash, when another run takes the lease over."""

    def watch() -> None:
        lease.lost.wait()
        _log.error("%s", lease.taken_over(), extra={"event": "lease_lost"})
        os._exit(USER_ERROR)

    Thread(target=watch, name="lease-lost", daemon=True).start()


def write(path: Path, content: bytes) -> None:
    """A small file of a recovery folder, written whole or not at all. Raises UserError."""
    begun = path.with_suffix(".begun")
    try:
        private_files.write(path, content, begun=begun)
    except OSError as error:
        raise UserError(
            f"recovery folder {path.parent}: {error.strerror}: make room, or name one that can be "
            "written to"
        ) from error
