"""Journals: what was appended comes back, up to the handle; any damage is found and named."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import RecoveryError, SnapshotError
from state.journal import Journal, Journals, RewriteThrottle
from state.journal_files import JournalPosition, list_journals, read

payloads = st.lists(st.binary(max_size=40), max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=40)),
        st.tuples(st.just("rewrite"), payloads),
        st.tuples(st.just("crash"), st.integers(0, 9), st.binary(max_size=20)),
    ),
    max_size=20,
)


@given(steps)
def test_any_position_gives_its_payloads(taken: list[tuple[object, ...]]) -> None:
    """A crash goes back to any handle of the file in use, and leaves torn bytes after it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(folder, "x")
        contents: list[bytes] = []
        known = [(journal.position, contents)]
        for kind, *what in taken:
            if kind == "append":
                contents = [*contents, what[0]]  # type: ignore[list-item]
                known.append((journal.append(what[0]), contents))  # type: ignore[arg-type]
            elif kind == "rewrite":
                contents = list(what[0])  # type: ignore[call-overload]
                known = [(journal.compact(iter(contents)), contents)]
            else:
                del known[len(known) - what[0] % len(known) :]  # type: ignore[operator]
                if not known:
                    journal = Journal(folder, "x")
                    contents = []
                    known = [(journal.position, contents)]
                handle, contents = known[-1]
                with (folder / handle.file_name).open("ab") as file:
                    file.write(what[1])  # type: ignore[arg-type]
                journal, rows = Journal.open(folder, handle)
                assert list(rows) == contents
                assert (folder / handle.file_name).stat().st_size == handle.length
            for handle, rows_then in known:
                assert list(read(folder, handle)) == rows_then


@pytest.fixture
def handle(tmp_path: Path) -> JournalPosition:
    """A journal of a base and two changes."""
    journal = Journal(tmp_path, "devices-17")
    journal.compact([b"one", b"two"])
    journal.append(b"three")
    return journal.append(b"")


def test_every_flipped_byte_is_detected_and_named(tmp_path: Path, handle: JournalPosition) -> None:
    path = tmp_path / handle.file_name
    sound = path.read_bytes()
    assert len(sound) == handle.length
    for place in range(len(sound)):
        for flip in (1, 0x80):
            flipped = bytearray(sound)
            flipped[place] ^= flip
            path.write_bytes(flipped)
            with pytest.raises(SnapshotError, match=r"devices-17\.1\.rows: byte \d+: ."):
                list(Journal.open(tmp_path, handle)[1])


def test_every_truncation_is_detected_and_named(tmp_path: Path, handle: JournalPosition) -> None:
    path = tmp_path / handle.file_name
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place])
        with pytest.raises(SnapshotError, match=rf"devices-17\.1\.rows: byte {place}: it ends"):
            Journal.open(tmp_path, handle)
        with pytest.raises(SnapshotError, match=r"devices-17\.1\.rows: byte \d+: "):
            list(read(tmp_path, handle))
    path.unlink()
    with pytest.raises(SnapshotError, match=r"devices-17\.1\.rows: byte 0: the file is missing"):
        Journal.open(tmp_path, handle)


def test_a_file_that_replaces_another_is_detected(tmp_path: Path) -> None:
    handles = []
    for name in ("a", "b"):
        journal = Journal(tmp_path, name)
        handles.append(journal.append(b"same"))
    (tmp_path / handles[0].file_name).replace(tmp_path / handles[1].file_name)
    with pytest.raises(SnapshotError, match=r"b\.1\.rows: byte 8"):
        list(read(tmp_path, handles[1]))


def test_other_content_of_the_same_length_is_detected(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    began = journal.position
    lost = journal.append(b"one")
    Journal.open(tmp_path, began)[0].append(b"two")
    with pytest.raises(SnapshotError, match="not the content to which the snapshot refers"):
        list(read(tmp_path, lost))


def test_a_new_generation_has_a_new_number(tmp_path: Path) -> None:
    first = Journal(tmp_path, "a").append(b"first")
    lost = Journal.open(tmp_path, first)[0].compact([b"lost"])
    again = Journal.open(tmp_path, first)[0].compact([b"again"])
    assert [first.generation, lost.generation, again.generation] == [1, 2, 3]
    assert Journal(tmp_path, "a").position.generation == 4
    assert sorted(path.name for path, _, _ in list_journals(tmp_path)) == [
        f"a.{n}.rows" for n in range(1, 5)
    ]


def test_a_compaction_is_due_when_changes_outweigh_the_base(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a", ratio=2.0)
    journal.compact([bytes(100_000)])
    journal.append(bytes(199_000))
    assert not journal.needs_compaction
    journal.append(bytes(2_000))
    assert journal.needs_compaction
    assert Journal.open(tmp_path, journal.position, ratio=2.0)[0].needs_compaction
    journal.compact([bytes(100_000)])
    assert not journal.needs_compaction


def test_compactions_of_many_journals_are_spread(tmp_path: Path) -> None:
    journals = Journals(tmp_path, ratio=1.0)
    first, second = journals.new("a"), journals.new("b")
    for journal in (first, second):
        journal.append(bytes(100_000))
        assert journal.needs_compaction
    first.compact([bytes(100_000)])
    assert not second.needs_compaction
    first.append(bytes(60_000))
    assert second.needs_compaction


def test_credit_is_not_saved_up() -> None:
    pace = RewriteThrottle()
    pace.credit(1_000_000)
    pace.debit(10)
    assert not pace.may_rewrite


def test_a_full_disk_is_a_one_line_error_and_earlier_records_are_intact(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    handle = journal.append(bytes(1000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
    try:
        with pytest.raises(RecoveryError, match=r"a\.1\.rows: File too large: free disk space"):
            journal.append(bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    opened, rows = Journal.open(tmp_path, handle)
    assert list(rows) == [bytes(1000)]
    opened.append(b"more")
    assert list(read(tmp_path, opened.position)) == [bytes(1000), b"more"]
