"""The table store: a snapshot writes only changed rows, and a restored state is equal bit by bit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.errors import SnapshotError
from state.journal import Journals
from state.journal_files import list_journals
from state.snapshots import LEARN_CODEC, LearnState
from tests.learned import SETTINGS, batches
from tests.personalization import Personalization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.messages import ShardPart, Write


def learn(learning: Personalization, batch: Sequence[ShardPart]) -> list[Write]:
    return [
        write for part in batch for out in learning.process_batch([part]) for write in out.writes
    ]


def lists(writes: list[Write]) -> list[Write]:
    """The writes without memberships and definitions, which are published again after a resume
    (test_memberships), and without cluster quality, which is computed again."""
    anew = (":segment", ":model:{clusters}")
    return [w for w in writes if not (isinstance(w, tuple) and any(k in str(w[1]) for k in anew))]


def whole(learning: Personalization) -> LearnState:
    """The whole learned state in one snapshot, without a journal."""
    state = LEARN_CODEC.decode(learning.snapshot().personalize)
    assert state.journal is None
    return state


def unstored(learning: Personalization, folder: Path) -> LearnState:
    """The same of a step with a journal, read back from what it stored."""
    learning = Personalization(SETTINGS, learning.snapshot(), Journals(folder, ratio=1.0))
    learning.state._table_store._journals = None
    return msgspec.structs.replace(whole(learning), journal=None)


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(st.sampled_from(["go on", "snapshot", "resume", "lose"]), min_size=20, max_size=20))
def test_a_resume_anywhere_changes_nothing(then: list[str]) -> None:
    """Also where a run continued from a snapshot, stored more rows, and crashed."""
    plain = Personalization(SETTINGS)
    with tempfile.TemporaryDirectory() as name:
        journals = Journals(Path(name), ratio=1.0)
        learning = Personalization(SETTINGS, None, journals)
        for n, (batch, action) in enumerate(zip(batches(), then, strict=True)):
            assert lists(learn(learning, batch)) == lists(learn(plain, batch))
            if action == "snapshot":
                learning.snapshot()
            elif action != "go on":
                blob = learning.snapshot()
                if action == "lose":
                    for lost in batches()[n + 1 :][:3]:
                        learn(learning, lost)
                        learning.snapshot()
                learning = Personalization(SETTINGS, blob, Journals(Path(name), ratio=1.0))
        assert unstored(learning, Path(name)) == whole(plain)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path, _, _ in list_journals(folder))


def test_a_snapshot_of_the_first_release_is_read_and_starts_a_journal(tmp_path: Path) -> None:
    plain = Personalization(SETTINGS)
    for batch in batches()[:10]:
        learn(plain, batch)
    stored = Personalization(SETTINGS, plain.snapshot(), Journals(tmp_path, ratio=1.0))
    state = LEARN_CODEC.decode(stored.snapshot().personalize)
    assert state.journal is not None
    assert not state.vocabularies
    assert not state.cards
    resumed = Personalization(SETTINGS, stored.snapshot(), Journals(tmp_path, ratio=1.0))
    for batch in batches()[10:]:
        assert lists(learn(resumed, batch)) == lists(learn(plain, batch))


def test_the_size_of_a_snapshot_depends_on_what_changed(tmp_path: Path) -> None:
    many = batches(6000, size=3000, shoppers=3000, items=600)
    learning = Personalization(SETTINGS, None, Journals(tmp_path, ratio=1.0))
    for batch in many:
        learn(learning, batch)
    learning.snapshot()
    base = size(tmp_path)
    learn(learning, batches(10, size=10)[0])
    blob = learning.snapshot()
    assert 0 < size(tmp_path) - base < base / 5
    assert sum(map(len, blob)) < 90_000


def test_a_damaged_journal_is_an_error(tmp_path: Path) -> None:
    learning = Personalization(SETTINGS, None, Journals(tmp_path, ratio=1.0))
    learn(learning, batches()[0])
    blob = learning.snapshot()
    stored = list_journals(tmp_path)
    assert {name for _, name, _ in stored} == {"learned", "clusters", "items", "propensity"}
    for path, _, _ in stored:
        whole_journal = path.read_bytes()
        data = bytearray(whole_journal)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(SnapshotError, match=path.name):
            Personalization(SETTINGS, blob, Journals(tmp_path, ratio=1.0))
        path.write_bytes(whole_journal)
