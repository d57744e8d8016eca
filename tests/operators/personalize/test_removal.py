"""Removal reaches every part of the state that keeps something per shopper or item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from operators.personalize import removal
from operators.tables.removal import KeepsNoRows
from operators.tables.table import Snapshottable
from tests.learned import SETTINGS, batches
from tests.personalization import Personalization

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = ("merge", "remove_shoppers", "remove_items")
OF_OWNER = "remove_rows"
"""Tables that are a part's own: it calls this for the rows of whichever kind they are."""
COMPOSITES = ("RecommenderComponents", "ItemTrainer")
"""Whose tables are those of the parts that it has."""
BY_KIND = {"recent_views": "release"}
"""Parts of the state that an adapter of `operators.personalize.removal` reaches by another method."""


def step_after(count: int) -> Personalization:
    step = Personalization(SETTINGS)
    for parts in batches()[:count]:
        step.process_batch(parts)
    return step


def objects_in(root: object) -> Iterator[object]:
    """Every object of the product that the attributes of another one lead to."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, Mapping):
            waiting += found.values()
        elif isinstance(found, list | tuple):
            waiting += found if len(found) < 100 else ()
        elif type(found).__module__.startswith("operators."):
            yield found
            names = {*getattr(type(found), "__slots__", ()), *getattr(found, "__dict__", ())}
            waiting += [getattr(found, name, None) for name in sorted(names)]


def overridden(part: object) -> set[str]:
    """The methods of the protocol in which a part says what it keeps."""
    owned = {OF_OWNER} if hasattr(type(part), OF_OWNER) else set()
    return owned | {
        name
        for name in METHODS
        if callable(method := getattr(type(part), name, None))
        and method is not getattr(KeepsNoRows, name)
        and method.__code__.co_argcount == getattr(KeepsNoRows, name).__code__.co_argcount
    }


def test_no_part_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts are found by walking the state, not by a list."""
    step = step_after(4)
    state, trainer = step.state, step.items.trainer
    # A replica is written over: it has no removals of its own.
    replicas = {id(part) for part in objects_in(state.recommender.components.replica)}
    expected = {
        id(part): type(part).__name__
        for part in (*objects_in(state), *objects_in(trainer))
        if (isinstance(part, KeepsNoRows) or hasattr(part, "remove_items"))
        and overridden(part) - {OF_OWNER}
        and id(part) not in replicas
    }
    assert len(expected) > 20
    reached: dict[int, set[str]] = {}
    for kind in {type(part) for part in (*objects_in(state), *objects_in(trainer))}:
        for name in (*METHODS, *BY_KIND.values()):
            real = vars(kind).get(name)
            if not callable(real):
                continue

            def record(
                self: Any, *args: Any, _real: Any = real, _name: str = name, **more: Any
            ) -> Any:
                reached.setdefault(id(self), set()).add(_name)
                return _real(self, *args, **more)

            monkeypatch.setattr(kind, name, record)
    parts, recommender = step.step._removal._parts, state.recommender
    state.assignment.remove(0, recommender.shoppers.ids[0], 1)  # as before every merge
    removal.merge(parts, 0, 1)
    removal.remove_shoppers(parts, recommender.shoppers, np.array([0], np.int32))
    removal.remove_items(parts, np.array([0], np.int32))
    trainer.shoppers.remove([trainer.shoppers.index.ids[0]])
    trainer.remove_items(np.array([0], np.int32))
    assert {owner for part, owner in expected.items() if part not in reached} == set()
    for name, method in BY_KIND.items():
        assert method in reached[id(getattr(state, name))]


def test_a_part_with_a_row_for_each_shopper_or_item_says_what_becomes_of_it() -> None:
    """Whatever is stored by rows of shoppers or items overrides a method of the protocol."""
    step = step_after(8)
    state, trainer = step.state, step.items.trainer
    shoppers, items = len(state.recommender.shoppers.ids), len(state.recommender.items.ids)
    recent = len(trainer.shoppers.index.ids)
    assert shoppers != items != recent
    silent = {
        type(part).__name__
        for part in (*objects_in(state), *objects_in(trainer))
        if isinstance(part, Snapshottable)
        and not overridden(part)
        and type(part).__name__ not in COMPOSITES
        and not any(part is getattr(state, name) for name in BY_KIND)
        for table in part.tables()
        for column in table.columns.values()
        if len(column) in (shoppers, items, recent)
    }
    assert silent == set()


@pytest.mark.parametrize("row", [0, 3])
def test_the_row_of_an_erased_shopper_is_as_new(row: int) -> None:
    """In every table with a row for each shopper, it holds what a row holds that was never used."""
    step = step_after(8)
    state = step.state
    index = state.recommender.shoppers
    fresh = index.get_or_add("never seen")
    state.memberships.ensure_rows(fresh + 1)
    removal.remove_shoppers(step.step._removal._parts, index, np.array([row], np.int32))
    for name, column in state.assignment.arrays().items():
        if len(column) == fresh + 1 and name in ("known", "refused", "last_ms", "order_ms"):
            assert column[row] == column[fresh], name
    assert index.ids[row] == ""
    assert index.get_or_add("somebody new") == row
