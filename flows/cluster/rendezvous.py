"""The rendezvous of the processes of a run across hosts: they start together.

Bytewax connects to any process that answers at an address, and tries for ever. So before Bytewax
starts, all processes register in Redis (`state.store.ProcessRegistry`). Process 0 has locked the
recovery folder and holds the lease; its entry has the token of the lease. The other entries have
the same token and a `start` id, which is new at every start of a process. When all are registered,
process 0 admits these start ids. Only admitted processes start, so a stale entry of a killed
process does no harm, whichever process was killed and when.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from flows.process import liveness
from flows.process.background import background_thread
from flows.process.shutdown import exit_process
from state import keys
from state.errors import ClusterError, StoreError
from state.store import ProcessEntry, ProcessRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as Flag

    from flows.cluster.placement import ClusterPosition
    from flows.kafka.source import KafkaSource
    from state.config import Settings

POLL_S = 0.2
LOG_AFTER_S = 2.0

_HOST_SPECIFIC = (
    "log",
    "metrics",
    "redis.url",
    "kafka.bootstrap_servers",
    "kafka.ca_file",
    "kafka.certificate_file",
    "kafka.key_file",
    "segments.file",
)
"""Settings that may differ between hosts: logs, metrics, and the way to the same Redis and Kafka."""

_Result = TypeVar("_Result")
_log = logging.getLogger("penstock.meeting")


class Rendezvous:
    """The rendezvous as one process takes part in it; `stop` ends all waiting. Raises UserError."""

    def __init__(
        self, redis_url: str, settings: Settings, position: ClusterPosition, stop: Flag
    ) -> None:
        run, self._name = settings.run, settings.kafka.group
        timeout_ms = settings.redis.timeout_ms
        self._registry = ProcessRegistry(redis_url, self._name, run.lease_s, timeout_ms=timeout_ms)
        self._run = run
        self._peers = range(1, position.process_count) if position.process == 0 else range(1)
        self._peer_starts: dict[int, str] = {}
        self._address = position.addresses[position.process]
        self._stop = stop
        self._registered_s = 0.0
        self._entry = ProcessEntry(
            process=position.process,
            start=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            agreed=config_digests(settings, position),
        )

    @property
    def is_leader(self) -> bool:
        """Whether this is process 0."""
        return self._entry.process == 0

    def admit_followers(self, token: int, partitions: tuple[str, ...]) -> bool:
        """Process 0: wait for all others and admit them. Returns False if `stop` was set first."""
        if not self._wait_for_address():
            return False
        self._update(force=True, token=token, partitions=partitions)
        entries: dict[int, ProcessEntry] = {}

        def all_present() -> tuple[str, ...] | None:
            for number in self._peers:
                entry = self._registry.get(number)
                entries.pop(number, None)
                if entry is not None and entry.token == token:
                    self._check_same_config(entry)
                    entries[number] = entry
            if len(entries) < len(self._peers):
                return None
            return (self._entry.start, *(entries[number].start for number in self._peers))

        def describe_missing() -> str:
            numbers = [number for number in self._peers if number not in entries]
            return f"process{'es' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"

        admitted = self._wait_until(all_present, describe_missing)
        if admitted is None:
            return False
        self._update(called=admitted)
        self._peer_starts = dict(enumerate(admitted))
        return True

    def find_leader(self) -> ProcessEntry | None:
        """Another process: wait for the entry of process 0; None if `stop` was set first."""
        if not self._registered_s and not (
            self._wait_for_address() and self._wait_until(self._register, self._describe_conflict)
        ):
            return None
        return self._wait_until(lambda: self._registry.get(0), lambda: "process 0")

    def wait_until_admitted(self, leader: ProcessEntry) -> bool:
        """Another process: wait until it is admitted.

        Returns False if `stop` was set first, or process 0 has restarted.
        """
        self._update(token=leader.token)
        self._check_same_config(leader)

        def is_admitted() -> bool | None:
            current = self._registry.get(0)
            if current is None:
                return None
            if (current.start, current.token) != (leader.start, leader.token):
                return False
            return self._entry.start in current.called or None

        self._peer_starts = {0: leader.start}
        return bool(self._wait_until(is_admitted, lambda: "process 0 and all others"))

    def wait_for(self, condition: Callable[[], bool], description: str) -> bool:
        """Wait for another condition as for a process. Returns False if `stop` was set first."""
        return bool(self._wait_until(lambda: condition() or None, lambda: description))

    @contextmanager
    def monitored(self, source: KafkaSource) -> Iterator[None]:
        """Monitor the other processes while the flow runs, and end with them."""
        with background_thread("meeting", lambda stop: self._monitor(stop, source)):
            yield

    def __enter__(self) -> Self:
        """Nothing to do yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the entry. After an error it stays until it expires, so that the others see why."""
        if kind is None:
            with suppress(StoreError):
                self._registry.deregister(self._entry)
        self._registry.close()

    def _wait_until(
        self, condition: Callable[[], _Result | None], describe: Callable[[], str]
    ) -> _Result | None:
        began_s = time.monotonic()
        logged = ""
        while not self._stop.is_set():
            liveness.mark_progress(has_started=False)
            if self._registered_s:
                self._renew()
            if (result := condition()) is not None:
                return result
            waited_s = time.monotonic() - began_s
            if waited_s > self._run.meet_s:
                raise ClusterError(
                    f"process {self._entry.process} of {self._name} has waited {waited_s:.0f} s for "
                    f"{describe()}: start all with the same kafka.group, Redis, -a and recovery folder"
                )
            if waited_s > LOG_AFTER_S and describe() != logged:
                logged = describe()
                _log.warning("process %d waits for %s", self._entry.process, logged)
            self._stop.wait(POLL_S)
        return None

    def _wait_for_address(self) -> bool:
        """Wait until this process can listen on its address, as Bytewax will."""
        bind_error = ""

        def can_listen() -> bool | None:
            nonlocal bind_error
            host, _, port = self._address.rpartition(":")
            try:
                socket.create_server(
                    (host.strip("[]"), int(port)), family=_address_family(host)
                ).close()
            except (OSError, OverflowError) as error:
                bind_error = str(error)
                return None
            return True

        return bool(
            self._wait_until(can_listen, lambda: f"its address {self._address} ({bind_error})")
        )

    def _register(self) -> bool | None:
        """Register under this process's number, unless another live process has it."""
        conflicting = self._registry.write(self._entry)
        if (
            conflicting is not None
            and conflicting.host == self._entry.host
            and not _is_alive(conflicting.pid)
        ):
            conflicting = self._registry.write(self._entry, force=True)
        if conflicting is not None:
            return None
        self._registered_s = time.monotonic()
        return True

    def _describe_conflict(self) -> str:
        conflicting = self._registry.get(self._entry.process)
        label = conflicting.label if conflicting else "another"
        return f"the end of {label}, which is process {self._entry.process} too"

    def _update(self, *, force: bool = False, **changes: Any) -> None:
        self._entry = msgspec.structs.replace(self._entry, **changes)
        self._write(force=force)

    def _renew(self) -> None:
        if time.monotonic() - self._registered_s > self._run.lease_s / 3:
            self._write()

    def _write(self, *, force: bool = False) -> None:
        conflicting = self._registry.write(self._entry, force=force)
        if conflicting is not None:
            raise _ReplacedError(
                f"process {self._entry.process} of {self._name} runs on {conflicting.label} too: "
                f"give each "
                "process its own number with -i"
            )
        self._registered_s = time.monotonic()

    def _check_same_config(self, peer: ProcessEntry) -> None:
        mine, theirs = self._entry.agreed, peer.agreed
        names = sorted({*mine, *theirs})
        if differing := [name for name in names if mine.get(name) != theirs.get(name)]:
            raise ClusterError(
                f"process {self._entry.process} and process {peer.process} ({peer.label}) differ in "
                f"{', '.join(differing)}: start all processes of {self._name} with the same"
            )

    def _monitor(self, stop: Flag, source: KafkaSource) -> None:
        last_seen_s = dict.fromkeys(self._peers, time.monotonic())
        while not stop.wait(POLL_S):
            failure = _stuck_failure(self._run.stuck_s)
            try:
                if source.is_stopping and not self._entry.is_stopping:
                    self._update(is_stopping=True)
                self._renew()
                for number in self._peers:
                    peer = self._registry.get(number)
                    failure = failure or self._peer_failure(number, peer, last_seen_s, source)
            except _ReplacedError as error:
                failure = str(error)
            except StoreError:  # the sink logs that Redis is away and waits
                last_seen_s = dict.fromkeys(self._peers, time.monotonic())
            if failure and not stop.is_set():
                _log.error("%s: this process ends, to be restarted with the others", failure)
                exit_process()

    def _peer_failure(
        self,
        number: int,
        peer: ProcessEntry | None,
        last_seen_s: dict[int, float],
        source: KafkaSource,
    ) -> str:
        if peer is None:
            is_gone = time.monotonic() - last_seen_s[number] > self._run.lease_s
            if is_gone and not source.is_stopping:
                return f"process {number} has not renewed its entry for {self._run.lease_s:g} s"
            return ""
        last_seen_s[number] = time.monotonic()
        if peer.start != self._peer_starts[number]:
            return f"process {number} has restarted ({peer.label})"
        if peer.is_stopping and not source.is_stopping:
            source.request_stop()
        return ""


class _ReplacedError(ClusterError):
    """Another process has the same number."""


def config_digests(settings: Settings, position: ClusterPosition) -> dict[str, str]:
    """A digest of each setting that must be the same in all processes of a run, by name."""
    texts = {"-a": ";".join(position.addresses), "the release": keys.WRITER_VERSION}
    for section, values in msgspec.to_builtins(settings).items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        by_name = {f"{section}.{key}".rstrip("."): value for key, value in pairs}
        texts |= {
            name: str(value)
            for name, value in by_name.items()
            if section not in _HOST_SPECIFIC and name not in _HOST_SPECIFIC
        }
    return {
        name: hashlib.blake2s(value.encode(), digest_size=6).hexdigest()
        for name, value in texts.items()
    }


def _stuck_failure(stuck_s: float) -> str:
    limit_s = stuck_s if liveness.has_started() else max(liveness.START_TIMEOUT_S, stuck_s)
    age_s = liveness.progress_age_s()
    return f"this process has made no progress for {age_s:.0f} s" if age_s > limit_s else ""


def _address_family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_alive(pid: int) -> bool:
    """Whether another process of this host has this id. In a container, a restart gets the same id."""
    return pid != os.getpid() and os.path.exists(f"/proc/{pid}")
