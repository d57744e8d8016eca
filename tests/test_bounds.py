"""What is learned stays bounded however many shoppers and items come, and who comes back is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.learning import Learning
from state.config import Settings, State
from state.interactions import NOBODY, Vocabulary
from state.journal import Journals
from tests.learned import SETTINGS, batches
from tests.test_stored_tables import learn, lists

if TYPE_CHECKING:
    from pathlib import Path

    from state.messages import Write

SHOPPERS_MAX, ITEMS_MAX = 60, 20
BOUNDED: Settings = msgspec.structs.replace(
    SETTINGS, state=State(shoppers_max=SHOPPERS_MAX, items_max=ITEMS_MAX)
)


def held(learning: Learning) -> int:
    """Bytes in tables that grow."""
    return sum(
        column.nbytes
        for name, part in learning._tables().parts.items()
        for table in part.tables()
        for column in table.columns.values()
        if name != "clusters"
    )


def test_there_are_never_more_than_the_configuration_allows() -> None:
    learning, unbounded = Learning(BOUNDED), Learning(SETTINGS)
    for batch in batches():
        learn(learning, batch)
        learn(unbounded, batch)
        assert len(learning._recommender.shoppers.rows) <= SHOPPERS_MAX
        assert len(learning._recommender.items.rows) <= ITEMS_MAX
    assert len(unbounded._recommender.shoppers.rows) > 2 * SHOPPERS_MAX
    assert held(learning) < held(unbounded)


def test_rows_are_reused_and_tell_so_after_a_resume(tmp_path: Path) -> None:
    plain, stored = Learning(BOUNDED), Learning(BOUNDED, None, Journals(tmp_path, ratio=1.0))
    for batch in batches():
        assert lists(learn(stored, batch)) == lists(learn(plain, batch))
        stored = Learning(BOUNDED, stored.snapshot(), Journals(tmp_path, ratio=1.0))
    kept, again = plain._recommender.arrays(), stored._recommender.arrays()
    assert all(array.tobytes() == again[name].tobytes() for name, array in kept.items())
    assert plain._cards.rows == stored._cards.rows


def test_who_gives_way_leaves_the_segments() -> None:
    learning = Learning(BOUNDED)
    members: set[str] = set()
    for batch in batches():
        for write in learn(learning, batch):
            follow(write, members)
    audience, shoppers = learning._audience, learning._recommender.shoppers
    placed = np.flatnonzero(audience.cluster[: audience.rows] != NOBODY).tolist()
    assert members
    assert members == {shoppers.ids[row] for row in placed}


def follow(write: Write, members: set[str]) -> None:
    if isinstance(write, tuple) and str(write[1]).endswith(":members"):
        change = members.add if write[0] == "ZADD" else members.discard
        change(str(write[-1]))


def test_lists_name_no_item_that_gave_way() -> None:
    learning = Learning(BOUNDED)
    for batch in batches():
        learn(learning, batch)
    recommender = learning._recommender
    live = {*recommender.items.rows}
    ranked = recommender.rank([*recommender.shoppers.rows], learning._now_ms)
    listed = {item for entries in ranked.entries() for item, _, _ in entries}
    assert listed
    assert listed <= live
    assert {*learning._cards.rows} <= live


def test_a_free_row_is_given_again_under_another_name() -> None:
    vocabulary = Vocabulary(["mug", "cup", "pot"])
    vocabulary.forget(np.array([0, 2], np.int32))
    restored = Vocabulary(vocabulary.ids)
    for one in (vocabulary, restored):
        assert [one.row(name) for name in ("pan", "mug", "lid")] == [0, 2, 3]
        assert one.ids == ["pan", "cup", "mug", "lid"]
