"""Reads recorded files line by line: plain, gzip or standard input, in constant memory.

Every problem with a file is a `UserError` that names the file and the remedy.
"""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from flows.process.printing import create_console
from state.errors import SourceError
from state.events import EVENT_BYTES_MAX
from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from rich.console import Console

CHUNK_BYTES = 256 * 1024
LINE_BYTES_MAX = EVENT_BYTES_MAX + 1
"""The end of a longer line is skipped: every reader rejects such a line as too large anyway."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"


class LogFile:
    """An open file of lines; `-` is standard input.

    `bytes_total` is the size on disk, None if it is not known (a pipe).
    """

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else path
        self.lines_read = 0
        self._file = _open(path)
        start = self._file.peek(4)[:4]
        if not start:
            raise SourceError(f"{self.name} is empty: nothing to read")
        if start == _ZIP_MAGIC:
            raise SourceError(f"{self.name} is a zip archive: unpack it and name the file inside")
        is_gzip = start.startswith(_GZIP_MAGIC)
        if path.endswith(".gz") and not is_gzip:
            raise SourceError(f"{path} is not gzip: rename it without .gz if it is plain text")
        self._decompressed = gzip.GzipFile(fileobj=self._file) if is_gzip else self._file
        is_file = self._file.seekable()
        self.bytes_total = os.fstat(self._file.fileno()).st_size if is_file else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def bytes_read(self) -> int:
        """How many of `bytes_total` were read."""
        return self._file.tell() if self.bytes_total is not None else 0

    def lines(
        self,
        on_progress: Callable[[], None] = lambda: None,
        *,
        line_bytes_max: int = LINE_BYTES_MAX,
    ) -> Iterator[bytes]:
        """Lines without their line ends; `on_progress` is called after every chunk.

        The end of a line longer than `line_bytes_max` is skipped. A damaged gzip file gives all
        complete lines before the damage, then raises UserError.
        """
        remainder = b""
        for data in self._chunks():
            chunk = data
            if len(remainder) >= line_bytes_max:
                _, end, chunk = chunk.partition(b"\n")
                if not end:
                    continue
                self.lines_read += 1
                yield remainder
                remainder = b""
            *complete, remainder = (remainder + chunk).split(b"\n")
            for line in complete:
                self.lines_read += 1
                yield line.removesuffix(b"\r")
            on_progress()
        if remainder:
            self.lines_read += 1
            yield remainder.removesuffix(b"\r")

    def _chunks(self) -> Iterator[bytes]:
        try:
            while chunk := self._decompressed.read1(CHUNK_BYTES):
                yield chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(
                f"{self.name} is damaged after line {self.lines_read} ({error}): "
                "the lines before were read; fetch the file again for the rest"
            ) from error
        except OSError as error:
            raise SourceError(f"cannot read {self.name} any further: {error.strerror}") from error


def _open(path: str) -> BufferedReader:
    if path == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise SourceError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise SourceError(f"{path} is a directory: name a file in it") from None
    except OSError as error:
        raise SourceError(
            f"cannot read {path}: {error.strerror}: name a file that can be read"
        ) from None


@contextmanager
def progress_bar(log: LogFile, target: Console | None = None) -> Iterator[Callable[[], None]]:
    """Show a bar on the terminal while inside: lines per second, and the remaining time.

    Gives the `on_progress` for `LogFile.lines`. Prints nothing if `target` (default: standard
    error) is no terminal.
    """
    terminal = target or create_console(stderr=True)
    bar = Progress(
        TextColumn(printable(Path(log.name).name), markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[lines_per_s]:,.0f} lines/s"),
        TimeRemainingColumn(),
        console=terminal,
        disable=not terminal.is_terminal,
    )
    task = bar.add_task("read", total=log.bytes_total, lines_per_s=0.0)

    def on_progress() -> None:
        elapsed_s = bar.tasks[0].elapsed or 0.0
        lines_per_s = log.lines_read / elapsed_s if elapsed_s else 0.0
        bar.update(task, completed=log.bytes_read, lines_per_s=lines_per_s)

    with bar:
        yield on_progress
