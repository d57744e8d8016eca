"""A thread that sends bytes while the flow computes: the server works on one core, we on another."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Sender:
    """Sends what it is given, in order, for one thread. An error stops it until `wait` raises it.

    After an error nothing more goes out: the server may hold the first half of a command, and would
    take what comes next for the other half.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, Callable[[], socket.socket]]] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._stopped = False
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def send(self, data: bytes, connected: Callable[[], socket.socket]) -> None:
        """Hand over bytes; `connected` gives the socket when their turn comes."""
        if self._thread is None:
            self._stopped = False
            self._thread = threading.Thread(target=self._run, name="redis-sender", daemon=True)
            self._thread.start()
        with self._changed:
            if self._error is None:
                self._waiting.append((data, connected))
                self._changed.notify_all()

    def wait(self) -> None:
        """Return when all is sent; raises what stopped it, once, after which it starts afresh."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def stop(self) -> None:
        """End the thread; what is not sent yet is dropped. A later `send` starts another one."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                data, connected = self._waiting.popleft()
                self._busy = True
            failed: Exception | None = None
            try:
                connected().sendall(data)
            except Exception as error:  # raised again where it can be handled, in `wait`
                failed = error
            with self._changed:
                self._busy = False
                if failed is not None:
                    self._error = failed
                    self._waiting.clear()
                self._changed.notify_all()
