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
STOPPED = 130
FAILED = 1
STOP_S = 8.0
"""Who stops a service kills it after ten seconds."""

_OVER = 0

_threads_stay = Event()


@contextmanager
def stop_on_signal() -> Iterator[Event]:
    """A flag that Ctrl-C or SIGTERM sets while inside; a second one ends the process at once.

    At once is like a crash: a recovery folder stands it.
    """
    stop = Event()
    # A handler runs in the middle of anything, also of `stop.wait`, whose lock `stop.set` would then
    # wait for without end; this queue is made for that.
    asked: SimpleQueue[bool] = SimpleQueue()
    is_asked = False

    def hear(number: int, frame: object) -> None:
        nonlocal is_asked
        if is_asked or stop.is_set():
            print("penstock: stopped at once", file=sys.stderr, flush=True)
            os._exit(STOPPED)
        is_asked = True
        asked.put(True)

    def pass_on() -> None:
        if asked.get():
            stop.set()

    thread = Thread(target=pass_on, name="stop-on-signal", daemon=True)
    thread.start()
    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.put(False)
        thread.join()


@contextmanager
def ends_before_it_begins(stop: Event) -> Iterator[None]:
    """The process ends at once when asked to before the flow moves: Bytewax waits for its peers then.

    It runs no handler meanwhile, so a thread hears the signals. Nothing has been read yet: nothing is
    lost, and the exit code is 0.
    """
    reads, writes = os.pipe()
    os.set_blocking(writes, False)

    def hear() -> None:
        while (number := os.read(reads, 1)[0]) != _OVER:
            if number in SIGNALS and not liveness.has_begun():
                os._exit(0)

    thread = Thread(target=hear, name="ends-before", daemon=True)
    thread.start()
    to_before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    try:
        if stop.is_set():
            os._exit(0)
        yield
    finally:
        signal.set_wakeup_fd(to_before)
        os.write(writes, bytes([_OVER]))
        thread.join()
        os.close(reads)
        os.close(writes)


def end_process() -> None:
    """End as in a crash: who started a cluster starts all of it again."""
    os._exit(FAILED)


def end(code: int) -> NoReturn:
    """End with an exit code: at once where threads of a cluster have outlived its flow.

    The interpreter cannot end in order under them.
    """
    if _threads_stay.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def threads_stay() -> None:
    """Hear that a flow begins in a cluster."""
    _threads_stay.set()


@contextmanager
def ends_soon(stop: Event, within_s: float = STOP_S) -> Iterator[None]:
    """What runs inside has so long to end once `stop` is set; else the process ends, as in a crash."""
    is_over = Event()

    def watch() -> None:
        stop.wait()
        if not is_over.wait(within_s):
            print(
                f"penstock: could not write everything within {within_s:g} s, perhaps since Redis or "
                "Kafka is away: what came since the last snapshot is read again at the next start",
                file=sys.stderr,
                flush=True,
            )
            os._exit(FAILED)

    Thread(target=watch, name="ends-soon", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
