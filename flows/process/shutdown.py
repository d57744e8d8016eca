"""Ctrl-C as a request: the source ends between two batches, and the flow writes what it holds.

An exception out of a signal handler would unwind through Bytewax wherever it is at that moment, and
now and then that is a segmentation fault.
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

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_STOPPED = 130
EXIT_FAILED = 1
GRACE_S = 8.0
"""Who stops a service kills it after ten seconds."""

_CLOSE_BYTE = 0

_has_cluster_threads = Event()


@contextmanager
def stop_on_signal() -> Iterator[Event]:
    """A flag that Ctrl-C or SIGTERM sets while inside; a second one ends the process at once.

    At once is like a crash: a recovery folder stands it.
    """
    stop = Event()
    # A handler runs in the middle of anything, also of `stop.wait`, whose lock `stop.set` would then
    # wait for without end; this queue is made for that.
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
    """The process ends at once when asked to before the flow moves: Bytewax waits for its peers then.

    It runs no handler meanwhile, so a thread hears the signals. Nothing has been read yet: nothing is
    lost, and the exit code is 0.
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
    """End as in a crash: who started a cluster starts all of it again."""
    os._exit(EXIT_FAILED)


def exit_with(code: int) -> NoReturn:
    """End with an exit code: at once where threads of a cluster have outlived its flow.

    The interpreter cannot end in order under them.
    """
    if _has_cluster_threads.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def mark_threads_running() -> None:
    """Hear that a flow begins in a cluster."""
    _has_cluster_threads.set()


@contextmanager
def kill_after_grace(stop: Event, within_s: float = GRACE_S) -> Iterator[None]:
    """What runs inside has so long to end once `stop` is set; else the process ends, as in a crash."""
    has_ended = Event()

    def watch() -> None:
        stop.wait()
        if not has_ended.wait(within_s):
            print(
                f"penstock: could not write everything within {within_s:g} s, perhaps since Redis or "
                "Kafka is away: what came since the last snapshot is read again at the next start",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_FAILED)

    Thread(target=watch, name="ends-soon", daemon=True).start()
    try:
        yield
    finally:
        has_ended.set()
