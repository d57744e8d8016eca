"""Files as lines: the formats that can be read, clear errors for the rest, constant memory."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from flows.sources.files import LINE_BYTES_MAX, LogFile, progress_bar
from operators.readers.registry import READERS
from state.dead_letters import DeadLetter
from state.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path | str) -> list[bytes]:
    with LogFile(str(path)) as log:
        return list(log.lines())


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\r\nb", [b"a", b"b"]),
        (b"\n\na", [b"", b"", b"a"]),
        (b"\xff\x00\n", [b"\xff\x00"]),
    ],
)
def test_plain_and_gzip_give_the_same_lines(
    tmp_path: Path, content: bytes, lines: list[bytes]
) -> None:
    assert read(write(tmp_path / "log.csv", content)) == lines
    assert read(write(tmp_path / "log.csv.gz", gzip.compress(content))) == lines


def test_gzip_is_known_by_its_first_bytes_and_may_have_several_members(tmp_path: Path) -> None:
    path = write(tmp_path / "log", gzip.compress(b"a\nb") + gzip.compress(b"c\n"))
    assert read(path) == [b"a", b"bc"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_dash_is_standard_input(packed: bool) -> None:
    script = "from flows.sources.files import LogFile; print(list(LogFile('-').lines()))"
    sent = gzip.compress(b"a\nb") if packed else b"a\nb"
    done = subprocess.run(
        [sys.executable, "-c", script], input=sent, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "[b'a', b'b']"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty", b"", "is empty: nothing to read"),
        ("log.gz", b"a,b\n", "is not gzip: rename it without .gz if it is plain text"),
        ("log.zip", b"PK\x03\x04rest", "is a zip archive: unpack it and name the file inside"),
    ],
)
def test_an_unreadable_file_gives_a_clear_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(SourceError) as error:
        read(path)
    assert str(error.value) == f"{path} {message}"


def test_a_missing_file_a_directory_and_a_forbidden_file_give_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file: .*absent"):
        read(tmp_path / "absent")
    with pytest.raises(SourceError, match="is a directory: name a file in it"):
        read(tmp_path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(SourceError, match=r"cannot read .*loop: "):
        read(loop)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_gives_the_lines_before_the_damage_then_an_error(
    tmp_path: Path, damage: str
) -> None:
    numbers = random.Random(1)
    lines = [b"%d" % numbers.getrandbits(64) for _ in range(50_000)]
    packed = bytearray(gzip.compress(b"\n".join(lines), 1))
    middle = len(packed) // 2
    if damage == "cut":
        del packed[middle:]
    else:
        packed[middle : middle + 64] = bytes(64)
    got: list[bytes] = []
    with (
        LogFile(str(write(tmp_path / "log.gz", bytes(packed)))) as log,
        pytest.raises(
            SourceError, match=r"log\.gz is damaged after line \d+ .*fetch the file again"
        ),
    ):
        got.extend(log.lines())
    assert len(got) > 10_000
    whole = len(got) if damage == "cut" else 10_000
    assert got[:whole] == lines[:whole]


def test_an_overlong_line_is_cut_and_the_next_line_is_complete(tmp_path: Path) -> None:
    size = 64 * LINE_BYTES_MAX
    path = tmp_path / "log.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b"x" * LINE_BYTES_MAX)
        file.write(b"\nnext\n")
    tracemalloc.start()
    with LogFile(str(path)) as log:
        records = list(READERS["penstock"](log.lines(), source="log", now_ms=0))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kinds = [record.failure_type for record in records if isinstance(record, DeadLetter)]
    assert kinds == ["too_large", "not_json"]
    assert peak_bytes < size // 8


def test_a_terminal_shows_a_bar_and_a_pipe_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", b"a\n" * 100_000)
    shown = {}
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
        with LogFile(str(path)) as log, progress_bar(log, console) as advanced:
            assert sum(1 for _ in log.lines(advanced)) == 100_000
        assert isinstance(console.file, io.StringIO)
        shown[is_terminal] = console.file.getvalue()
    assert "log.csv" in shown[True]
    assert "100%" in shown[True]
    assert "lines/s" in shown[True]
    assert shown[False] == ""


def test_a_pipe_has_no_size_and_still_a_rate() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"a\n")
    os.close(write_end)
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with LogFile(f"/dev/fd/{read_end}") as log, progress_bar(log, console) as advanced:
        assert log.bytes_total is None
        assert list(log.lines(advanced)) == [b"a"]
    os.close(read_end)
