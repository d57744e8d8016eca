"""The stop of a process: Ctrl-C and SIGTERM set a flag, the source ends between two batches.

The handler raises no exception: it would unwind through Bytewax at any point, which sometimes is a
segmentation fault.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, NoReturn

from flows.process import liveness
from flows.process.exit_codes import EXIT_FAILED, EXIT_STOPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE_S = 8.0
"""Service managers kill a process ten seconds after the stop signal."""

_CLOSE_BYTE = 0

_has_cluster_threads = Event()


@contextmanager
def stop_on_signal() -> Iterator[Event]:
    """Give a flag that Ctrl-C or SIGTERM sets; a second signal ends the process at once.

    Ending at once is like a crash: a run with a recovery folder loses nothing.
    """
    stop = Event()
    # A handler may interrupt `stop.wait`, whose lock `stop.set` would then wait for without end.
    # `SimpleQueue.put` is safe in a handler.
    requests: SimpleQueue[bool] = SimpleQueue()
    is_requested = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal is_requested
        if is_requested or stop.is_set():
            print("penstock: stopped at once", file=sys.stderr, flush=True)
            os._exit(EXIT_STOPPED)
        is_requested = True
        requests.put(True)

    def forward() -> None:
        if requests.get():
            stop.set()

    thread = Thread(target=forward, name="stop-on-signal", daemon=True)
    thread.start()
    previous_handlers = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        requests.put(False)
        thread.join()


@contextmanager
def exit_if_stopped_early(stop: Event) -> Iterator[None]:
    """End the process at once on a signal before the flow starts, while Bytewax waits for peers.

    Python runs no signal handler during that wait, so a thread watches the signals. Nothing has
    been read yet, so nothing is lost, and the exit code is 0.
    """
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)

    def watch_signals() -> None:
        while (number := os.read(read_fd, 1)[0]) != _CLOSE_BYTE:
            if number in SIGNALS and not liveness.has_started():
                os._exit(0)

    thread = Thread(target=watch_signals, name="ends-before", daemon=True)
    thread.start()
    previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        if stop.is_set():
            os._exit(0)
        yield
    finally:
        signal.set_wakeup_fd(previous_fd)
        os.write(write_fd, bytes([_CLOSE_BYTE]))
        thread.join()
        os.close(read_fd)
        os.close(write_fd)


def exit_process() -> None:
    """End as in a crash: the supervisor or service manager restarts the whole cluster."""
    os._exit(EXIT_FAILED)


def exit_with(code: int) -> NoReturn:
    """End with an exit code; at once if threads of a cluster still run after its flow.

    The interpreter cannot shut down cleanly while they run.
    """
    if _has_cluster_threads.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def mark_threads_running() -> None:
    """Note that a flow starts in a cluster, whose threads outlive it."""
    _has_cluster_threads.set()


@contextmanager
def kill_after_grace(stop: Event, within_s: float = GRACE_S) -> Iterator[None]:
    """Give the code inside `within_s` to end once `stop` is set; else end the process as in a crash."""
    has_ended = Event()

    def watch() -> None:
        stop.wait()
        if not has_ended.wait(within_s):
            print(
                f"penstock: could not write everything within {within_s:g} s, perhaps because Redis or "
                "Kafka is away: the next start reads the events since the last snapshot again",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_FAILED)

    Thread(target=watch, name="ends-soon", daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()
