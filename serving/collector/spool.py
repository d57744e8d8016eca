"""What the log does not take now, on disk until it does. Bounded: then the sender has to keep it.

Files of lines, `<key>\\t<event>`, each line synchronised before it counts as accepted. White space in an
event is one line too. A file belongs to the process that has it locked; what a killed process left is
sent by the next one that starts. A line that is no record is skipped, counted and logged.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import logging
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from serving.collector.event_log import LogRecord
from serving.http import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO

    from state.config_deployment import Collector

_log = logging.getLogger("penstock.collector")

FILE_BYTES = 8 * 1024 * 1024
"""A file that is so long is followed by another, so that sent events free their room."""
SEND_RECORDS = 500
"""Records that are read and sent at once."""
_BLANK_LINE_ENDS = bytes.maketrans(b"\n\r", b"  ")
"""JSON text has line ends only between its parts, where a space means the same."""


class SpoolFullError(Exception):
    """The spool has as many bytes as it may have."""


class Spool:
    """The files of one folder. For several threads. Raises OSError where it cannot be written."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._current: FileIO | None = None
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._count(sum(path.stat().st_size for path in folder.glob("*.spool")))

    @property
    def byte_count(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def append(self, records: Sequence[LogRecord]) -> None:
        """Store records, on disk when this returns. Raises SpoolFullError, and then stores none."""
        lines = b"".join(map(_line, records))
        with self._lock:
            if self._bytes + len(lines) > self._bytes_max:
                raise SpoolFullError
            if self._current is None:
                self._current = self._open_file()
            self._write(self._current, lines)
            self._count(self._bytes + len(lines))
            if self._current.tell() > FILE_BYTES:
                self._end_file()

    def take_files(self) -> list[Path]:
        """The files to send, oldest first: of this process, and those that no process has locked."""
        with self._lock:
            self._end_file()
            paths = sorted(self._folder.glob("*.spool"))
            self._count(sum(path.stat().st_size for path in paths))
            return [path for path in paths if self._adopt(path)]

    def read(self, path: Path) -> Iterator[list[LogRecord]]:
        """The records of a file, in parts. The last line of a process that was killed may be cut."""
        skipped = 0
        part: list[LogRecord] = []
        with path.open("rb") as file:
            for line in file:
                record = _record(line)
                if record is not None:
                    part.append(record)
                elif line.endswith(b"\n"):
                    skipped += 1
                if len(part) == SEND_RECORDS:
                    yield part
                    part = []
        if part:
            yield part
        if skipped:
            metrics.SPOOL_DROPPED.labels("unreadable").inc(skipped)
            _log.error("%s: %d lines are no records of the spool: they are skipped", path, skipped)

    def remove(self, path: Path) -> None:
        """Remove a file that was sent."""
        with self._lock:
            size = path.stat().st_size
            path.unlink()
            self._count(self._bytes - size)

    def _count(self, byte_count: int) -> None:
        self._bytes = byte_count
        metrics.SPOOL_BYTES.set(byte_count)

    def _write(self, file: FileIO, lines: bytes) -> None:
        """Write lines, on disk when this returns. After a failure no line follows half a one."""
        begin = file.tell()
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            self._current = None
            with file, suppress(OSError):
                file.truncate(begin)
            raise

    def _open_file(self) -> FileIO:
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.spool"
        file = path.open("xb", buffering=0)
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


def _line(record: LogRecord) -> bytes:
    r"""A record as a line.

    >>> _line(LogRecord(b"k", b'{"a":\r\n1}'))
    b'aw==\t{"a":  1}\n'
    """
    value = record.value.translate(_BLANK_LINE_ENDS)
    return base64.b64encode(record.key) + b"\t" + value + b"\n"


def _record(line: bytes) -> LogRecord | None:
    """The record of a whole line; None where it is none."""
    coded, tab, value = line.partition(b"\t")
    if not (coded and tab and value.endswith(b"\n")):
        return None
    try:
        return LogRecord(base64.b64decode(coded, validate=True), value[:-1])
    except binascii.Error:
        return None


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
