"""The registration of a process of a run across hosts, under its number, in Redis.

The process renews its entry while it makes progress. The entry of a killed process expires.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from flows.cluster.config_digests import config_digests, differing_settings
from state.errors import ClusterError, StoreError
from state.store import ProcessEntry, ProcessRegistry

if TYPE_CHECKING:
    from flows.cluster.run_context import RunContext


class ReplacedError(ClusterError):
    """Another process has registered under the same number."""


class Registration:
    """The entry of this process, and a view of the other entries. Methods raise ClusterError.

    `peers` are the numbers that this process waits for and monitors: process 0 all others, the others
    process 0.
    """

    def __init__(self, context: RunContext) -> None:
        settings, position = context.settings, context.position
        self.name = settings.kafka.group
        self.peers = range(1, position.process_count) if position.process == 0 else range(1)
        self.entry = ProcessEntry(
            process=position.process,
            start=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            agreed=config_digests(settings, position),
        )
        self._lease_s = settings.run.lease_s
        self._registry = ProcessRegistry(
            context.redis_url, self.name, self._lease_s, timeout_ms=settings.redis.timeout_ms
        )
        self._written_s = 0.0

    @property
    def is_registered(self) -> bool:
        """Whether this process has its number."""
        return self._written_s > 0

    def get(self, process: int) -> ProcessEntry | None:
        """The entry under a number, None if there is none."""
        return self._registry.get(process)

    def register(self) -> bool:
        """Register under this process's number, unless another live process has it."""
        conflicting = self._registry.write(self.entry)
        if (
            conflicting is not None
            and conflicting.host == self.entry.host
            and not _is_alive(conflicting.pid)
        ):
            conflicting = self._registry.write(self.entry, force=True)
        if conflicting is not None:
            return False
        self._written_s = time.monotonic()
        return True

    def update(self, *, force: bool = False, **changes: Any) -> None:
        """Change fields of the entry; with `force` it also replaces the entry of another process."""
        self.entry = msgspec.structs.replace(self.entry, **changes)
        self._write(force=force)

    def renew(self) -> None:
        """Write the entry again before it expires. Raises ReplacedError if another has the number."""
        if time.monotonic() - self._written_s > self._lease_s / 3:
            self._write()

    def describe_conflict(self) -> str:
        """What this process waits for while another one has its number."""
        conflicting = self.get(self.entry.process)
        label = conflicting.label if conflicting else "another"
        return f"the end of {label}, which is process {self.entry.process} too"

    def check_same_config(self, peer: ProcessEntry) -> None:
        """Raise UserError if a peer has other settings."""
        if differing := differing_settings(self.entry.agreed, peer.agreed):
            raise ClusterError(
                f"process {self.entry.process} and process {peer.process} ({peer.label}) differ in "
                f"{', '.join(differing)}: start all processes of {self.name} with the same"
            )

    def remove(self) -> None:
        """Remove the entry, if Redis answers; else it expires."""
        with suppress(StoreError):
            self._registry.deregister(self.entry)

    def close(self) -> None:
        """Close the connection; the entry stays until it expires."""
        self._registry.close()

    def _write(self, *, force: bool = False) -> None:
        conflicting = self._registry.write(self.entry, force=force)
        if conflicting is not None:
            raise ReplacedError(
                f"process {self.entry.process} of {self.name} runs on {conflicting.label} too: "
                "give each process its own number with -i"
            )
        self._written_s = time.monotonic()


def _is_alive(pid: int) -> bool:
    """Whether another process of this host has this id. In a container, a restart gets the same id."""
    return pid != os.getpid() and os.path.exists(f"/proc/{pid}")
