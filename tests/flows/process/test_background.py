"""A background thread: who waits for its work hears that it has ended by itself."""

from __future__ import annotations

import threading

import pytest

from flows.process.background import ThreadEndedError, background_thread


def until_stopped(stop: threading.Event) -> None:
    stop.wait()


def wait_for_end(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(30)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_is_told_with_its_cause() -> None:
    def work(stop: threading.Event) -> None:
        raise RuntimeError("no room")

    with background_thread("shop's server", work) as thread:
        wait_for_end("shop's server")
        with pytest.raises(
            ThreadEndedError, match="the shop's server ended: RuntimeError: no room"
        ):
            thread.check()


def test_work_that_ends_too_early_is_told_and_work_that_goes_on_is_not() -> None:
    with background_thread("short", lambda stop: None) as short:
        wait_for_end("short")
        with pytest.raises(ThreadEndedError, match="the short ended: it gave no reason"):
            short.check()
    with background_thread("long", until_stopped) as long:
        long.check()
    long.check()  # it was stopped
