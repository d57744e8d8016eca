"""The rendezvous of the processes of a run across hosts: they start together.

Bytewax connects to any process that answers at an address, and tries for ever. So before Bytewax
starts, all processes register in Redis (`registration.py`). Process 0 has locked the recovery folder
and holds the lease; its entry has the token of the lease. The other entries have the same token and a
`start` id, which is new at every start of a process. When all are registered, process 0 admits these
start ids. Only admitted processes start, so a stale entry of a killed process does no harm, whichever
process was killed and when.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING, Self, TypeVar

from flows.cluster.registration import Registration
from flows.process import liveness
from state.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.cluster.run_context import RunContext
    from state.store import ProcessEntry

POLL_S = 0.2
LOG_AFTER_S = 2.0

_Result = TypeVar("_Result")
_log = logging.getLogger("penstock.meeting")  # public: a field of JSON logs


class Rendezvous:
    """The rendezvous as one process takes part in it. Methods raise ClusterError.

    `peer_starts` are the start ids of the admitted peers, by number.
    """

    def __init__(self, context: RunContext) -> None:
        self.registration = Registration(context)
        self.peer_starts: dict[int, str] = {}
        self._address = context.position.addresses[context.position.process]
        self._stop = context.stop
        self._wait_s_max = context.settings.run.meet_s

    @property
    def is_leader(self) -> bool:
        """Whether this is process 0."""
        return self.registration.entry.process == 0

    def admit_followers(self, token: int, partitions: tuple[str, ...]) -> bool:
        """Process 0: wait for all others and admit them. Returns False if it was asked to stop first."""
        if not self._wait_for_address():
            return False
        registration, peers = self.registration, self.registration.peers
        registration.update(force=True, token=token, partitions=partitions)
        entries: dict[int, ProcessEntry] = {}

        def all_present() -> tuple[str, ...] | None:
            for number in peers:
                entry = registration.get(number)
                entries.pop(number, None)
                if entry is not None and entry.token == token:
                    registration.check_same_config(entry)
                    entries[number] = entry
            if len(entries) < len(peers):
                return None
            return (registration.entry.start, *(entries[number].start for number in peers))

        def describe_missing() -> str:
            numbers = [number for number in peers if number not in entries]
            return f"process{'es' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"

        admitted = self._wait_until(all_present, describe_missing)
        if admitted is None:
            return False
        registration.update(called=admitted)
        self.peer_starts = dict(enumerate(admitted))
        return True

    def find_leader(self) -> ProcessEntry | None:
        """Another process: wait for the entry of process 0; None if it was asked to stop first."""
        registration = self.registration
        if not registration.is_registered and not (
            self._wait_for_address()
            and self._wait_until(
                lambda: registration.register() or None, registration.describe_conflict
            )
        ):
            return None
        return self._wait_until(lambda: registration.get(0), lambda: "process 0")

    def wait_until_admitted(self, leader: ProcessEntry) -> bool:
        """Another process: wait until it is admitted.

        Returns False if it was asked to stop first, or process 0 has restarted.
        """
        registration = self.registration
        registration.update(token=leader.token)
        registration.check_same_config(leader)

        def is_admitted() -> bool | None:
            current = registration.get(0)
            if current is None:
                return None
            if (current.start, current.token) != (leader.start, leader.token):
                return False
            return registration.entry.start in current.called or None

        self.peer_starts = {0: leader.start}
        return bool(self._wait_until(is_admitted, lambda: "process 0 and all others"))

    def wait_for(self, condition: Callable[[], bool], description: str) -> bool:
        """Wait for another condition as for a process. Returns False if it was asked to stop first."""
        return bool(self._wait_until(lambda: condition() or None, lambda: description))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # After an error the entry stays until it expires, so that the other processes report its cause.
        if kind is None:
            self.registration.remove()
        self.registration.close()

    def _wait_until(
        self, condition: Callable[[], _Result | None], describe: Callable[[], str]
    ) -> _Result | None:
        """Poll a condition until it gives a result; None if the process was asked to stop first."""
        registration, number = self.registration, self.registration.entry.process
        began_s = time.monotonic()
        logged = ""
        while not self._stop.is_set():
            liveness.mark_progress(has_started=False)
            if registration.is_registered:
                registration.renew()
            if (result := condition()) is not None:
                return result
            waited_s = time.monotonic() - began_s
            if waited_s > self._wait_s_max:
                raise ClusterError(
                    f"process {number} of {registration.name} has waited {waited_s:.0f} s for "
                    f"{describe()}: start all with the same kafka.group, Redis, -a and recovery folder"
                )
            if waited_s > LOG_AFTER_S and describe() != logged:
                logged = describe()
                _log.warning("process %d waits for %s", number, logged)
            self._stop.wait(POLL_S)
        return None

    def _wait_for_address(self) -> bool:
        """Wait until this process can listen on its address, as Bytewax will."""
        bind_error = ""

        def can_listen() -> bool | None:
            nonlocal bind_error
            host, _, port = self._address.rpartition(":")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                socket.create_server((host.strip("[]"), int(port)), family=family).close()
            except (OSError, OverflowError) as error:
                bind_error = str(error)
                return None
            return True

        return bool(
            self._wait_until(can_listen, lambda: f"its address {self._address} ({bind_error})")
        )
