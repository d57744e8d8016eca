"""A line between two programs that can be cut, or made slow: TCP on a local port to another."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

CHUNK_BYTES = 1 << 16


class Proxy:
    """Passes bytes on both ways; `delay_s` before each chunk, nothing at all while `is_cut`.

    Cut is a network that swallows packets: connections stay open and nothing arrives.
    """

    def __init__(self, port: int, to_port: int) -> None:
        self.port = port
        self._to = ("127.0.0.1", to_port)
        self.delay_s = 0.0
        self.whole = threading.Event()
        self.whole.set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *failed: object) -> None:
        self._listener.close()
        self.whole.set()
        self.drop()

    def cut(self) -> None:
        """Let nothing through any more."""
        self.whole.clear()

    def mend(self) -> None:
        """Let everything through again; what stood open while cut is reset, as routers do."""
        self.drop()
        self.whole.set()

    def drop(self) -> None:
        """Close all connections."""
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open = []

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                near.close()
                continue
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                self.whole.wait()
                if self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(chunk)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
