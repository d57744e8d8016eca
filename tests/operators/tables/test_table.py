"""The one contract of everything that is stored."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest

import operators
from operators.tables.table import Snapshottable, Table, TableState, add_prefix, strip_prefix
from state.dirty_rows import DirtyRows


def stored_classes() -> list[type]:
    """Every class of the product that is restored from named arrays alone."""
    found = set()
    for module in pkgutil.walk_packages(operators.__path__, "operators."):
        for _, one in inspect.getmembers(import_module(module.name), inspect.isclass):
            restore = getattr(one, "restore", lambda: None)
            parameters = [*inspect.signature(restore).parameters]
            if one.__module__.startswith("operators.") and parameters == ["self", "arrays"]:
                found.add(one)
    return sorted(found, key=lambda one: (one.__module__, one.__qualname__))


def test_there_are_stored_classes() -> None:
    assert len(stored_classes()) > 30


@pytest.mark.parametrize("one", stored_classes(), ids=lambda one: one.__qualname__)
def test_every_stored_class_implements_the_whole_contract(one: type) -> None:
    assert issubclass(one, Snapshottable)


class Counts(TableState):
    """A stored part as small as possible: one table, one scalar."""

    def __init__(self) -> None:
        self.rows = np.zeros(3)
        self.total = np.zeros(1)
        self.dirty_rows = DirtyRows(3)

    def tables(self) -> list[Table]:
        return [Table({"rows": self.rows}, self.dirty_rows)]

    def scalars(self) -> dict[str, np.ndarray]:
        return {"total": self.total.copy()}


def test_arrays_are_the_columns_of_the_tables_and_the_scalars_copied() -> None:
    counts = Counts()
    arrays = counts.arrays()
    counts.rows[1] = counts.total[0] = 7.0
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "rows": [0.0, 0.0, 0.0],
        "total": [0.0],
    }


def test_changed_rows_and_scalars_over_older_arrays_give_the_arrays_of_now() -> None:
    counts = Counts()
    older = counts.arrays()
    counts.dirty_rows.take_dirty(3)
    counts.rows[2] = counts.total[0] = 5.0
    counts.dirty_rows.mark(2)
    (table,) = counts.tables()
    assert table.dirty_rows is not None
    dirty = table.dirty_rows.take_dirty(3)
    older["rows"][dirty] = table.columns["rows"][dirty]
    assert {name: array.tolist() for name, array in {**older, **counts.scalars()}.items()} == {
        name: array.tolist() for name, array in counts.arrays().items()
    }


def test_a_prefix_is_added_and_stripped() -> None:
    arrays = {"a": np.zeros(1), "b": np.ones(2)}
    longer = {**add_prefix("x.", arrays), "other": np.zeros(3)}
    assert [*longer] == ["x.a", "x.b", "other"]
    assert [*strip_prefix("x.", longer)] == ["a", "b"]
    assert [*Table(arrays, None).prefixed("y/").columns] == ["y/a", "y/b"]
