"""How the processes of a run across hosts find each other, begin together and end together.

Bytewax connects whoever answers at an address, for ever and to anybody. So before it does, all meet in
Redis (`state.store.Roster`). Process 0 has locked the recovery folder and holds the lease; it shows the
token of that. The others show that they go by the same token, and each one its `start`, which is new
with every start of a process. When all are there process 0 calls these starts. Only who is called
begins; so an entry that a killed process left behind can mislead nobody, whoever was killed and when.

While they run each goes on looking: where one has started anew, or is gone, all end and meet again.
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
from flows.process.background import beside
from flows.process.shutdown import end_process
from state import keys
from state.errors import UserError
from state.store import Member, Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as Flag

    from flows.cluster.placement import Place
    from flows.kafka.source import KafkaSource
    from state.config import Settings

LOOK_S = 0.2
SAY_AFTER_S = 2.0

_OWN = (
    "log",
    "metrics",
    "redis.url",
    "kafka.bootstrap_servers",
    "kafka.ca_file",
    "kafka.certificate_file",
    "kafka.key_file",
    "segments.file",
)
"""What a host may have of its own: how it is watched, and how it reaches the same Redis and Kafka."""

_Found = TypeVar("_Found")
_log = logging.getLogger("penstock.meeting")


class Meeting:
    """One process's part in it; `stop` ends all waiting. Methods raise UserError."""

    def __init__(self, redis_url: str, settings: Settings, place: Place, stop: Flag) -> None:
        run, self._name = settings.run, settings.kafka.group
        timeout_ms = settings.redis.timeout_ms
        self._roster = Roster(redis_url, self._name, run.lease_s, timeout_ms=timeout_ms)
        self._run = run
        self._others = range(1, place.processes) if place.process == 0 else range(1)
        self._starts: dict[int, str] = {}
        self._address = place.addresses[place.process]
        self._stop = stop
        self._written_s = 0.0
        self._me = Member(
            process=place.process,
            start=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            agreed=agreed(settings, place),
        )

    @property
    def leads(self) -> bool:
        """Whether this is process 0."""
        return self._me.process == 0

    def lead(self, token: int, partitions: tuple[str, ...]) -> bool:
        """Process 0: call the others when all are there; False: `stop` came first."""
        if not self._listens():
            return False
        self._change(over=True, token=token, partitions=partitions)
        found: dict[int, Member] = {}

        def all_are_there() -> tuple[str, ...] | None:
            for number in self._others:
                other = self._roster.find(number)
                found.pop(number, None)
                if other is not None and other.token == token:
                    self._agree(other)
                    found[number] = other
            if len(found) < len(self._others):
                return None
            return (self._me.start, *(found[number].start for number in self._others))

        def missing() -> str:
            numbers = [number for number in self._others if number not in found]
            return f"process{'es' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"

        called = self._until(all_are_there, missing)
        if called is None:
            return False
        self._change(called=called)
        self._starts = dict(enumerate(called))
        return True

    def find_leader(self) -> Member | None:
        """Another process: what process 0 says; None: `stop` came first."""
        if not self._written_s and not (self._listens() and self._until(self._claim, self._former)):
            return None
        return self._until(lambda: self._roster.find(0), lambda: "process 0")

    def join(self, leader: Member) -> bool:
        """Another process: be called. False: `stop` came first, or process 0 has started anew."""
        self._change(token=leader.token)
        self._agree(leader)

        def is_called() -> bool | None:
            now = self._roster.find(0)
            if now is None:
                return None
            if (now.start, now.token) != (leader.start, leader.token):
                return False
            return self._me.start in now.called or None

        self._starts = {0: leader.start}
        return bool(self._until(is_called, lambda: "process 0 and all others"))

    def wait_for(self, is_so: Callable[[], bool], what: str) -> bool:
        """Wait for something else as one waits for a process; False: `stop` came first."""
        return bool(self._until(lambda: is_so() or None, lambda: what))

    @contextmanager
    def kept(self, source: KafkaSource) -> Iterator[None]:
        """While the flow runs: end with the others. One that is asked to stop ends all in peace."""
        with beside("meeting", lambda over: self._watch(over, source)):
            yield

    def __enter__(self) -> Self:
        """Begin with it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Take one's entry away; after an error it stays until it expires, for the others to see why."""
        if kind is None:
            with suppress(UserError):
                self._roster.leave(self._me)
        self._roster.close()

    def _until(self, look: Callable[[], _Found | None], what: Callable[[], str]) -> _Found | None:
        began_s = time.monotonic()
        said = ""
        while not self._stop.is_set():
            liveness.beat(has_begun=False)
            if self._written_s:
                self._renew()
            if (found := look()) is not None:
                return found
            waited_s = time.monotonic() - began_s
            if waited_s > self._run.meet_s:
                raise UserError(
                    f"process {self._me.process} of {self._name} has waited {waited_s:.0f} s for "
                    f"{what()}: start all with the same kafka.group, Redis, -a and recovery folder"
                )
            if waited_s > SAY_AFTER_S and what() != said:
                said = what()
                _log.warning("process %d waits for %s", self._me.process, said)
            self._stop.wait(LOOK_S)
        return None

    def _listens(self) -> bool:
        """Wait until this process can listen at its address, as Bytewax will."""
        trouble = ""

        def can_listen() -> bool | None:
            nonlocal trouble
            host, _, port = self._address.rpartition(":")
            try:
                socket.create_server((host.strip("[]"), int(port)), family=_family(host)).close()
            except (OSError, OverflowError) as error:
                trouble = str(error)
                return None
            return True

        return bool(self._until(can_listen, lambda: f"its address {self._address} ({trouble})"))

    def _claim(self) -> bool | None:
        """Have one's number, which a killed process may seem to have until its entry expires."""
        held = self._roster.write(self._me)
        if held is not None and held.host == self._me.host and not _is_alive(held.pid):
            held = self._roster.write(self._me, over=True)
        if held is not None:
            return None
        self._written_s = time.monotonic()
        return True

    def _former(self) -> str:
        held = self._roster.find(self._me.process)
        who = held.who if held else "another"
        return f"{who}, which is process {self._me.process} too, to go"

    def _change(self, *, over: bool = False, **changes: Any) -> None:
        self._me = msgspec.structs.replace(self._me, **changes)
        self._write(over=over)

    def _renew(self) -> None:
        if time.monotonic() - self._written_s > self._run.lease_s / 3:
            self._write()

    def _write(self, *, over: bool = False) -> None:
        held = self._roster.write(self._me, over=over)
        if held is not None:
            raise _OustedError(
                f"process {self._me.process} of {self._name} runs on {held.who} too: give each "
                "process its own number with -i"
            )
        self._written_s = time.monotonic()

    def _agree(self, other: Member) -> None:
        mine, theirs = self._me.agreed, other.agreed
        names = sorted({*mine, *theirs})
        if different := [name for name in names if mine.get(name) != theirs.get(name)]:
            raise UserError(
                f"process {self._me.process} and process {other.process} ({other.who}) differ in "
                f"{', '.join(different)}: start all processes of {self._name} with the same"
            )

    def _watch(self, over: Flag, source: KafkaSource) -> None:
        seen_s = dict.fromkeys(self._others, time.monotonic())
        while not over.wait(LOOK_S):
            trouble = _stuck(self._run.stuck_s)
            try:
                if source.is_ending and not self._me.is_stopping:
                    self._change(is_stopping=True)
                self._renew()
                for number in self._others:
                    other = self._roster.find(number)
                    trouble = trouble or self._trouble(number, other, seen_s, source)
            except _OustedError as error:
                trouble = str(error)
            except UserError:  # who writes waits for a Redis that is away, and says so
                seen_s = dict.fromkeys(self._others, time.monotonic())
            if trouble and not over.is_set():
                _log.error("%s: this process ends, to start and meet again", trouble)
                end_process()

    def _trouble(
        self, number: int, other: Member | None, seen_s: dict[int, float], source: KafkaSource
    ) -> str:
        if other is None:
            is_gone = time.monotonic() - seen_s[number] > self._run.lease_s
            if is_gone and not source.is_ending:
                return f"process {number} has said nothing for {self._run.lease_s:g} s"
            return ""
        seen_s[number] = time.monotonic()
        if other.start != self._starts[number]:
            return f"process {number} has started anew ({other.who})"
        if other.is_stopping and not source.is_ending:
            source.end()
        return ""


class _OustedError(UserError):
    """Another process has the same number."""


def agreed(settings: Settings, place: Place) -> dict[str, str]:
    """A digest of each thing that must be the same in all processes of a run, by its name."""
    found = {"-a": ";".join(place.addresses), "the release": keys.WRITER_VERSION}
    for section, values in msgspec.to_builtins(settings).items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        named = {f"{section}.{key}".rstrip("."): value for key, value in pairs}
        found |= {
            name: str(value)
            for name, value in named.items()
            if section not in _OWN and name not in _OWN
        }
    return {
        name: hashlib.blake2s(value.encode(), digest_size=6).hexdigest()
        for name, value in found.items()
    }


def _stuck(stuck_s: float) -> str:
    limit_s = stuck_s if liveness.has_begun() else max(liveness.BEGIN_S, stuck_s)
    age_s = liveness.age_s()
    return f"this process has not moved for {age_s:.0f} s" if age_s > limit_s else ""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_alive(pid: int) -> bool:
    """Whether another process of this host has an id; its own is what one in a container had before."""
    return pid != os.getpid() and os.path.exists(f"/proc/{pid}")
