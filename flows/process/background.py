"""A background thread that runs for as long as a `with` block."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ThreadEndedError(UserError):
    """A thread ended by itself. What to do: its traceback says why; that is a bug."""


class BackgroundThread:
    """The thread, for those who must know whether it still works."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._name = name
        self._work = work
        self._stop = threading.Event()
        self._has_ended = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the work."""
        self._thread.start()

    def stop(self) -> None:
        """Set the event of the work, and wait for its end."""
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise ThreadEndedError where the work has ended and nobody stopped it."""
        if self._has_ended and not self._stop.is_set():
            failure = self._failure
            cause = f"{type(failure).__name__}: {failure}" if failure else "it gave no reason"
            raise ThreadEndedError(f"the {self._name} ended: {cause}") from failure

    def _run(self) -> None:
        try:
            self._work(self._stop)
        except BaseException as error:
            self._failure = error
            raise  # the traceback belongs to the log, whether anybody checks or not
        finally:
            self._has_ended = True


@contextmanager
def background_thread(
    name: str, work: Callable[[threading.Event], None]
) -> Iterator[BackgroundThread]:
    """Run `work` in a thread while inside. `work` must return soon after its event is set."""
    thread = BackgroundThread(name, work)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()
