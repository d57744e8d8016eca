"""What the log does not take now, on disk until it does. Bounded: then the sender has to keep it.

Files of lines, `<key>\\t<event>`, each line synchronised before it counts as accepted. A file belongs to
the process that has it locked; what a killed process left is sent by the next one that starts.
"""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from serving.collector.event_log import LogRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from state.config_deployment import Collector

_log = logging.getLogger("penstock.collector")

FILE_BYTES = 8 * 1024 * 1024
"""A file that is so long is followed by another, so that sent events free their room."""
SEND_RECORDS = 500
"""Records that are read and sent at once."""


class SpoolFullError(Exception):
    """The spool has as many bytes as it may have."""


class Spool:
    """The files of one folder. For several threads. Raises OSError where it cannot be written."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._current: BinaryIO | None = None
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._bytes = sum(path.stat().st_size for path in folder.glob("*.spool"))

    @property
    def byte_count(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def append(self, records: Sequence[LogRecord]) -> None:
        """Store records, on disk when this returns. Raises SpoolFullError, and then stores none."""
        lines = b"".join(
            base64.b64encode(record.key) + b"\t" + record.value + b"\n" for record in records
        )
        with self._lock:
            if self._bytes + len(lines) > self._bytes_max:
                raise SpoolFullError
            if self._current is None:
                self._current = self._open_file()
            self._current.write(lines)
            self._current.flush()
            os.fsync(self._current.fileno())
            self._bytes += len(lines)
            if self._current.tell() > FILE_BYTES:
                self._end_file()

    def take_files(self) -> list[Path]:
        """The files to send, oldest first: of this process, and those that no process has locked."""
        with self._lock:
            self._end_file()
            return [path for path in sorted(self._folder.glob("*.spool")) if self._adopt(path)]

    def read(self, path: Path) -> Iterator[list[LogRecord]]:
        """The records of a file, in parts. The last line of a process that was killed may be cut."""
        with path.open("rb") as file:
            part: list[LogRecord] = []
            for line in file:
                key, tab, value = line.rstrip(b"\n").partition(b"\t")
                if tab and line.endswith(b"\n"):
                    part.append(LogRecord(base64.b64decode(key), value))
                if len(part) == SEND_RECORDS:
                    yield part
                    part = []
            if part:
                yield part

    def remove(self, path: Path) -> None:
        """Remove a file that was sent."""
        with self._lock:
            size = path.stat().st_size
            path.unlink()
            self._bytes -= size

    def _open_file(self) -> BinaryIO:
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.spool"
        file = path.open("xb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # a file without its name would be lost with the machine
        finally:
            os.close(folder)
        return file

    def _end_file(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def _adopt(self, path: Path) -> bool:
        """Whether no other process writes to a file."""
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True


def open_spool(collector: Collector) -> Spool | None:
    """The configured spool; None where there is none, or its folder cannot be written (it says so)."""
    if not collector.spool_mb:
        return None
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folder = Path(collector.spool_folder or Path(state, "penstock", "spool"))
    try:
        return Spool(folder, collector.spool_mb * 1_000_000)
    except OSError as error:
        _log.warning(
            "%s cannot be written (%s): events are refused while the log is away; set "
            "collector.spool_folder to a folder that can be written",
            folder,
            error.strerror,
        )
        return None
