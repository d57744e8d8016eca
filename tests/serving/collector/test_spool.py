"""The spool gives back what it was given, whatever happened to its files meanwhile."""

from __future__ import annotations

import json
import logging
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.collector.event_log import LogRecord
from serving.collector.spool import Spool, SpoolFullError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

RECORD = LogRecord(b"k", b'{"n":1}')


def new_spool(folder: Path, bytes_max: int = 1_000_000) -> Spool:
    return Spool(folder, bytes_max)


def content(spool: Spool) -> list[LogRecord]:
    return [record for path in spool.take_files() for part in spool.read(path) for record in part]


def test_a_full_spool_stores_nothing_of_a_body(tmp_path: Path) -> None:
    spool = new_spool(tmp_path, 100)
    spool.append([LogRecord(b"k", b"v" * 50)])
    with pytest.raises(SpoolFullError):
        spool.append([LogRecord(b"k", b"v" * 10), LogRecord(b"k", b"v" * 50)])
    assert content(spool) == [LogRecord(b"k", b"v" * 50)]


def test_records_are_read_in_parts_and_a_cut_line_is_dropped(tmp_path: Path) -> None:
    records = [LogRecord(f"né\t{n}\n".encode(), b'{"n":%d}' % n) for n in range(1203)]
    spool = new_spool(tmp_path)
    spool.append(records)
    (path,) = spool.take_files()
    with path.open("ab") as file:
        file.write(b"a2V5\t{cut")
    parts = list(new_spool(tmp_path).read(path))
    assert [len(part) for part in parts] == [500, 500, 203]
    assert [record for part in parts for record in part] == records


texts = st.text(st.sampled_from('ab"\\\n\r\t é'), max_size=8)
indents = st.sampled_from([None, "\n", "\r\n", "\r", "\t"])


@given(st.lists(st.tuples(texts.filter(bool), texts, indents), min_size=1, max_size=6))
def test_an_event_with_any_white_space_comes_back_as_the_same_event(
    drawn: list[tuple[str, str, str | None]],
) -> None:
    """`props` are kept as they were sent, line ends between their parts among them."""
    sent = [
        (key, msgspec.Raw(json.dumps({"a": text, "b": [1, 2]}, indent=indent).encode()))
        for key, text, indent in drawn
    ]
    records = [LogRecord(key.encode(), msgspec.json.encode({"props": raw})) for key, raw in sent]
    with tempfile.TemporaryDirectory() as folder:
        spool = new_spool(Path(folder))
        spool.append(records)
        found = content(spool)
    assert [record.key for record in found] == [record.key for record in records]
    assert [json.loads(one.value) for one in found] == [json.loads(one.value) for one in records]


def test_lines_that_are_no_records_are_skipped_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = new_spool(tmp_path)
    spool.append([RECORD])
    (path,) = spool.take_files()
    with path.open("ab") as file:
        file.write(b'"b": 2,\n \t"c": 3}\n\n\t{}\na\t{}\n')
    spool.append([RECORD])
    with caplog.at_level(logging.ERROR, "penstock.collector"):
        assert content(spool) == [RECORD, RECORD]
    assert caplog.messages == [f"{path}: 5 lines are no records of the spool: they are skipped"]


def test_a_spool_leaves_the_files_of_other_processes_alone(tmp_path: Path) -> None:
    writing, other = new_spool(tmp_path), new_spool(tmp_path)
    writing.append([RECORD])
    assert other.take_files() == []
    assert len(writing.take_files()) == 1


@pytest.fixture
def short_files() -> Iterator[None]:
    """Files of this process are at most a few bytes longer than one record, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_write_that_fails_half_way_spoils_no_later_record(
    tmp_path: Path, short_files: AbstractContextManager[None]
) -> None:
    spool = new_spool(tmp_path)
    spool.append([RECORD])
    with pytest.raises(OSError, match="too large"):
        spool.append([LogRecord(b"k", b"v" * 100)])
    spool.append([RECORD])
    assert content(spool) == [RECORD, RECORD]
    assert spool.byte_count == sum(path.stat().st_size for path in tmp_path.iterdir())
