"""The supervisor: the processes of a cluster on this host are started, watched and stopped together.

A Bytewax cluster stands or falls as one: when a process ends, or does not move any more, all are killed
and started again, and go on from the recovery folder.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from flows.cluster.dependencies import kafka_answers, redis_answers, redis_is_whole
from flows.cluster.leadership import USER_ERROR, tenure
from flows.cluster.worker_process import SUPERVISOR
from flows.kafka.source import KafkaSource
from flows.observability import metrics
from flows.process import liveness
from flows.process.shutdown import STOP_S, ends_soon
from flows.recovery.folder import recovery

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event as Flag

    from state.config import Settings
    from state.store import Fence, Lease

WATCH_S = 0.1
BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
CALM_S = 60.0
"""After so long without a restart the next one comes at once again."""

FAILED = 1

_log = logging.getLogger("penstock.supervisor")


class Child:
    """A process of the cluster."""

    def __init__(self, number: int, addresses: str, words: list[str], restarts: int) -> None:
        self.number = number
        descriptor = os.memfd_create("penstock-pulse")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        self._pulse = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._began_s = time.monotonic()
        command = [sys.executable, "-m", "flows", *words, "-i", str(number), "-a", addresses]
        # A session of its own: the terminal's Ctrl-C is for the supervisor, which passes it on.
        self.process = subprocess.Popen(  # noqa: S603 the words that we were started with
            command,
            env={
                **os.environ,
                liveness.VARIABLE: str(descriptor),
                SUPERVISOR: str(os.getpid()),
                metrics.RESTARTS_VARIABLE: str(restarts),
            },
            pass_fds=[descriptor],
            stdout=subprocess.DEVNULL,  # Bytewax tells there of every try to reach a peer
            stderr=sys.stderr,  # descriptor 2 is kept aside for panics
            start_new_session=True,
        )
        os.close(descriptor)

    def trouble(self, stuck_s: float) -> str:
        """What is wrong with it, "" if nothing is."""
        if (code := self.process.poll()) is not None:
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            return f"process {self.number} ended {how}"
        beat_s, now_s = liveness.read(self._pulse), time.monotonic()
        if not beat_s and now_s - self._began_s <= max(liveness.BEGIN_S, stuck_s):
            return ""
        quiet_s = now_s - (beat_s or self._began_s)
        return f"process {self.number} has not moved for {quiet_s:.0f} s" * (quiet_s > stuck_s)


def supervise(
    words: list[str],
    settings: Settings,
    stop: Flag,
    *,
    processes: int,
    redis_url: str,
    recovery_folder: Path,
) -> int:
    """Run `penstock WORDS` as a cluster until `stop`; returns the exit code.

    Before each start it waits for Redis and Kafka. Raises UserError where the recovery folder or the
    lease cannot be had, or another run took over.
    """
    restarts, in_a_row, began_s = 0, 0, time.monotonic()
    fence: Fence | None = None
    while not stop.is_set():
        with recovery(recovery_folder, settings) as stored, ExitStack() as until_the_end:
            with ends_soon(stop), closing(KafkaSource(settings, stop)) as source:
                if not (redis_answers(redis_url, settings, stop) and kafka_answers(source, stop)):
                    return 0
            lease = until_the_end.enter_context(
                tenure(redis_url, settings, recovery_folder, after=fence)
            )
            fence = lease.fence
            with ends_soon(stop):
                if not redis_is_whole(redis_url, settings, stop, recovery_folder, stored, fence):
                    return 0
            addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(processes))
            children: list[Child] = []
            until_the_end.callback(_kill, children)
            for number in range(processes):
                children.append(Child(number, addresses, words, restarts))  # noqa: PERF401 all are killed
            trouble = _watch(children, stop, lease, settings.run.stuck_s)
            if stop.is_set():
                return _stopped(children)
            if any(child.process.poll() == USER_ERROR for child in children):
                return USER_ERROR
            lease.leave()
        if time.monotonic() - began_s > CALM_S:
            in_a_row = 0
        wait_s = BACKOFF_S[min(in_a_row, len(BACKOFF_S) - 1)]
        restarts, in_a_row, began_s = restarts + 1, in_a_row + 1, time.monotonic()
        _log.warning("%s: all %d start again in %g s", trouble, processes, wait_s)
        stop.wait(wait_s)
    return 0


def _watch(children: list[Child], stop: Flag, lease: Lease, stuck_s: float) -> str:
    while not stop.wait(WATCH_S):
        if lease.lost.is_set():
            raise lease.taken_over()
        for child in children:
            if trouble := child.trouble(stuck_s):
                return trouble
    return ""


def _stopped(children: list[Child]) -> int:
    """Pass the request on to all, and give them time to write what they hold."""
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
    until_s = time.monotonic() + STOP_S + 1
    for child in children:
        try:
            child.process.wait(max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("process %d did not stop in time: killed", child.number)
            return FAILED
    codes = [child.process.wait() for child in children]
    return max(abs(code) for code in codes)


def _kill(children: list[Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.kill()
        child.process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as until_the_end:
        probes = [until_the_end.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
