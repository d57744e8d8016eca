"""Stored estimators: what is read comes back the same, anything else is refused unread."""

import collections
import contextlib
import functools
import operator
import os
import pickle
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import base

from operators.models.river.expressions import MODULES, _classes
from operators.models.river.pickles import dump_estimator, load_estimator
from state.errors import SnapshotError

UNFIT = {
    *("ODAC", "TextClust"),  # of other input than rows of numbers
    *("FFMClassifier", "FwFMClassifier", "ComplementNB", "MultinomialNB"),
    *("RandomOverSampler", "RandomUnderSampler", "RandomSampler"),  # made only with a model
    *("SuccessiveHalvingClassifier", "ZstdClassifier"),
}


def estimators() -> list[Any]:
    """Every clusterer and classifier of River that learns rows of numbers, with River's own settings."""
    found = []
    for module in MODULES:
        for name, one in _classes(module).items():
            if issubclass(one, base.Clusterer | base.Classifier) and name not in UNFIT:
                settings = next(iter(one._unit_test_params()))
                found.append(pytest.param(one(**settings), id=f"{module}.{name}"))
    return found


@pytest.mark.parametrize("model", estimators())
def test_every_estimator_that_learns_numbers_is_stored_and_read(model: Any) -> None:
    rng = np.random.default_rng(0)
    rows: list[Any] = [dict(enumerate(row)) for row in rng.normal(size=(150, 4)).tolist()]
    for row in rows:
        model.learn_one(row, row[0] > 0) if isinstance(model, base.Classifier) else model.learn_one(
            row
        )
    read = load_estimator(dump_estimator(model))
    assert type(read) is type(model)
    assert [read.predict_one(row) for row in rows] == [model.predict_one(row) for row in rows]


class Runs:
    """What a pickle of it calls when it is read."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call[0], self._call[1:]


@pytest.mark.parametrize(
    "stored",
    [
        pickle.dumps(Runs(os.system, "true")),
        pickle.dumps(Runs(eval, "1")),
        pickle.dumps(Runs(getattr, collections.OrderedDict(), "clear")),
        pickle.dumps(Runs(getattr, random.Random(1), "__class__")),
        pickle.dumps(Runs(operator.attrgetter, "a")),
        pickle.dumps(functools.partial(print, "read")),
        pickle.dumps(functools.reduce),
        b"criver.cluster.k_means\nfunctools.reduce\n.",
        b"criver.datasets\nPhishing\n.",
        b"\x80\x04\x8c\x16river.cluster.k_means\x8c\x10KMeans.__init__\x93.",
        b"criver.utils.pandas\n__loader__\n.",
        pickle.dumps(collections.OrderedDict()),
        pickle.dumps([1, 2]),
        b"",
        b"not a pickle",
    ],
)
def test_bytes_that_name_anything_else_are_refused(stored: bytes) -> None:
    with pytest.raises(SnapshotError, match="a stored estimator"):
        load_estimator(stored)


@given(st.binary(max_size=60), st.integers(0, 400))
def test_damaged_bytes_are_an_error_and_nothing_else(noise: bytes, at: int) -> None:
    stored = bytearray(dump_estimator(_classes("cluster")["KMeans"](seed=1)))  # type: ignore[call-arg]
    stored[at : at + len(noise)] = noise
    with contextlib.suppress(SnapshotError):
        assert isinstance(load_estimator(bytes(stored)), base.Base)
