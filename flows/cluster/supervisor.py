"""The supervisor starts, monitors and stops the processes of a cluster on one host together.

A Bytewax cluster only works as a whole: when one process ends or makes no progress, the supervisor
kills and restarts all, and they resume from the recovery folder.
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

from flows.cluster.dependencies import ensure_redis_current, wait_for_log, wait_for_redis
from flows.cluster.event_source import open_source
from flows.cluster.leadership import writer_lease
from flows.cluster.worker_process import SUPERVISOR_VARIABLE
from flows.observability import metrics
from flows.process import liveness
from flows.process.exit_codes import EXIT_FAILED, EXIT_USER_ERROR
from flows.process.shutdown import GRACE_S, kill_after_grace
from flows.recovery.folder import open_recovery

if TYPE_CHECKING:
    from threading import Event

    from flows.cluster.run_context import RunContext
    from state.store import Fence, Lease

POLL_S = 0.1
BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
RESET_BACKOFF_AFTER_S = 60.0
"""After this time without a restart the backoff starts again with its first step."""

_log = logging.getLogger("penstock.supervisor")


class WorkerProcess:
    """One process of the cluster."""

    def __init__(self, number: int, addresses: str, arguments: list[str], restarts: int) -> None:
        self.number = number
        descriptor = os.memfd_create("penstock-pulse")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        self._progress = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._started_s = time.monotonic()
        command = [sys.executable, "-m", "flows", *arguments, "-i", str(number), "-a", addresses]
        # Its own session: the terminal's Ctrl-C goes to the supervisor only, which forwards it.
        self.process = subprocess.Popen(  # noqa: S603 our own arguments
            command,
            env={
                **os.environ,
                liveness.PROGRESS_VARIABLE: str(descriptor),
                SUPERVISOR_VARIABLE: str(os.getpid()),
                metrics.RESTARTS_VARIABLE: str(restarts),
            },
            pass_fds=[descriptor],
            stdout=subprocess.DEVNULL,  # Bytewax logs every attempt to reach a peer there
            stderr=sys.stderr,  # descriptor 2 may be captured for panics
            start_new_session=True,
        )
        os.close(descriptor)

    def failure(self, stuck_s: float) -> str:
        """Describe a failure of the process, "" if there is none."""
        if (code := self.process.poll()) is not None:
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            return f"process {self.number} ended {how}"
        progress_s, now_s = liveness.read_shared(self._progress), time.monotonic()
        if not progress_s and now_s - self._started_s <= max(liveness.START_TIMEOUT_S, stuck_s):
            return ""
        stalled_s = now_s - (progress_s or self._started_s)
        return f"process {self.number} has made no progress for {stalled_s:.0f} s" * (
            stalled_s > stuck_s
        )


def run_supervised(arguments: list[str], context: RunContext, processes: int) -> int:
    """Run `penstock ARGUMENTS` as a cluster until it is asked to stop; returns the exit code.

    Before each start it waits for Redis and Kafka. Raises UserError if the recovery folder or the
    lease is not available, or another run has taken over.
    """
    restarts, consecutive_restarts, started_s = 0, 0, time.monotonic()
    fence: Fence | None = None
    stop = context.stop
    while not stop.is_set():
        with (
            open_recovery(context.recovery_folder, context.settings) as recovery_store,
            ExitStack() as exit_stack,
        ):
            if not _wait_for_dependencies(context):
                return 0
            lease = exit_stack.enter_context(writer_lease(context, fence))
            fence = lease.fence
            with kill_after_grace(stop):
                if not ensure_redis_current(context, recovery_store, fence):
                    return 0
            workers: list[WorkerProcess] = []
            exit_stack.callback(_kill_workers, workers)
            _start_workers(workers, arguments, processes, restarts)
            failure = _watch_workers(workers, stop, lease, context.settings.run.stuck_s)
            if stop.is_set():
                return _stop_workers(workers)
            if any(worker.process.poll() == EXIT_USER_ERROR for worker in workers):
                return EXIT_USER_ERROR
            lease.stop_renewing()
        if time.monotonic() - started_s > RESET_BACKOFF_AFTER_S:
            consecutive_restarts = 0
        wait_s = BACKOFF_S[min(consecutive_restarts, len(BACKOFF_S) - 1)]
        restarts += 1
        consecutive_restarts += 1
        started_s = time.monotonic()
        _log.warning("%s: all %d processes restart in %g s", failure, processes, wait_s)
        stop.wait(wait_s)
    return 0


def _wait_for_dependencies(context: RunContext) -> bool:
    source = open_source(context)
    with kill_after_grace(context.stop), closing(source):
        return wait_for_redis(context) and wait_for_log(source, context)


def _start_workers(
    workers: list[WorkerProcess], arguments: list[str], processes: int, restarts: int
) -> None:
    """Start all processes and append each to `workers` at once, so that the caller can kill them."""
    addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(processes))
    for number in range(processes):
        workers.append(WorkerProcess(number, addresses, arguments, restarts))  # noqa: PERF401


def _watch_workers(workers: list[WorkerProcess], stop: Event, lease: Lease, stuck_s: float) -> str:
    while not stop.wait(POLL_S):
        if lease.lost.is_set():
            raise lease.lost_error()
        for worker in workers:
            if failure := worker.failure(stuck_s):
                return failure
    return ""


def _stop_workers(workers: list[WorkerProcess]) -> int:
    """Stop all processes, with time to write everything; returns the exit code."""
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + GRACE_S + 1
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("process %d did not stop in time: killed", worker.number)
            return EXIT_FAILED
    codes = [worker.process.wait() for worker in workers]
    return max(abs(code) for code in codes)


def _kill_workers(workers: list[WorkerProcess]) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as exit_stack:
        probes = [exit_stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
