"""Makes scrub passes (`scrub_pass.py`) in a background thread, so that a live flow does not wait."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from flows.sinks.scrub_pass import scrub
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.store import Store

STOP_TIMEOUT_S = 10.0
_log = logging.getLogger("penstock.privacy")


class Scrubber:
    """Makes passes over the histories in a thread, one at a time, with its own connection.

    To leave Redis time for the flow, it pauses after each page for as long as the page took.
    """

    def __init__(self, connect: Callable[[], Store], notice_days: int) -> None:
        self._connect = connect
        self._notice_days = notice_days
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._is_due = False
        self._thread: threading.Thread | None = None

    @property
    def is_clean(self) -> bool:
        """Whether the last requested pass is complete."""
        with self._lock:
            return not self._is_due and self._thread is None

    def request_pass(self) -> None:
        """Request a pass. A running pass may have read the entries in question, so another follows."""
        with self._lock:
            self._is_due = True
        self.start_if_due()

    def start_if_due(self) -> None:
        """Start the requested pass if none is running. Call it again later: a pass may fail."""
        with self._lock:
            if self._is_due and self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="scrubber", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop after the current page. The next start makes the pass again."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._is_due or self._stop.is_set():
                    self._thread = None
                    return
                self._is_due = False
            if not self._run_pass():
                with self._lock:
                    self._is_due, self._thread = True, None
                return

    def _run_pass(self) -> bool:
        try:
            store = self._connect()
            try:
                scrub(store, self._notice_days, self._pause)
            finally:
                store.close()
        except _ScrubStoppedError:
            return False
        except StoreError as error:
            _log.warning(
                "%s: histories still contain erased shoppers: the deletion is retried", error
            )
            return False
        return True

    def _pause(self, page_s: float) -> None:
        if self._stop.wait(page_s):
            raise _ScrubStoppedError


class _ScrubStoppedError(Exception):
    """The run stops during a pass."""
