"""The owner of a recovery folder: its id, and the fence under which the processes of its run write.

The id is created at the first start, so that the next run on the folder takes over the lease at
once from a killed run. Stored: the file names `holder` and `fence.json` and the fields of a fence.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec

from state import private_files
from state.errors import RecoveryError
from state.store import Fence

if TYPE_CHECKING:
    from pathlib import Path

OWNER_FILE = "holder"  # stored when an owner was called so
FENCE_FILE = "fence.json"


def owner_id(folder: Path) -> str:
    """The id of a recovery folder, which is created if it has none. Raises RecoveryError."""
    path = folder / OWNER_FILE
    if not path.exists():
        write_file(path, uuid.uuid4().hex.encode())
    return path.read_text()


def read_fence(folder: Path) -> Fence:
    """The fence under which the processes of the folder's run write."""
    return msgspec.json.decode((folder / FENCE_FILE).read_bytes(), type=Fence)


def write_fence(folder: Path, fence: Fence) -> None:
    """Store the fence for the other processes of the run. Raises RecoveryError."""
    write_file(folder / FENCE_FILE, msgspec.json.encode(fence))


def write_file(path: Path, content: bytes) -> None:
    """Write a small file of a recovery folder completely or not at all. Raises RecoveryError."""
    staging = path.with_suffix(".begun")
    try:
        private_files.write_atomically(path, content, temporary=staging)
    except OSError as error:
        raise RecoveryError(
            f"recovery folder {path.parent}: {error.strerror}: free disk space, or name a writable "
            "folder"
        ) from error
