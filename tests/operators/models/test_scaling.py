"""Online scaling equals batch scaling, however the rows were cut into batches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from river import preprocessing

from operators.models.scaling import OnlineScaler

Table = NDArray[np.float64]

TABLES = arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.just(3)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3)),
)


def learned(*batches: Table, half_life_points: float | None = None) -> OnlineScaler:
    scaler = OnlineScaler(3, half_life_points)
    for batch in batches:
        scaler.learn_array(batch)
    return scaler


@given(TABLES, st.integers(0, 30))
def test_mean_and_deviation_equal_numpys_however_rows_are_cut(rows: Table, cut: int) -> None:
    scaler = learned(rows[:cut], rows[cut:])
    np.testing.assert_allclose(scaler.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(scaler.std, rows.std(axis=0), rtol=1e-6, atol=1e-5)


@settings(max_examples=30)
@given(TABLES)
def test_scores_equal_rivers(rows: Table) -> None:
    # River adds up squares, which loses small deviations around large means: the test avoids these.
    rows = np.round(rows / 1e5)
    theirs: Any = preprocessing.StandardScaler()
    for row in rows:
        theirs.learn_one(dict(enumerate(row)))
    expected = [list(theirs.transform_one(dict(enumerate(row))).values()) for row in rows]
    np.testing.assert_allclose(learned(rows).transform_array(rows), expected, atol=1e-6)


@given(TABLES, st.integers(0, 30), st.sampled_from([1.0, 10.0, 1000.0]))
def test_decay_weighs_rows_by_age_however_they_are_cut(
    rows: Table, cut: int, half_life: float
) -> None:
    scaler = learned(rows[:cut], rows[cut:], half_life_points=half_life)
    weights = 0.5 ** (np.arange(len(rows))[::-1] / half_life)
    mean = np.average(rows, axis=0, weights=weights)
    std = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(scaler.mean, mean, rtol=1e-9, atol=1e-5)
    np.testing.assert_allclose(scaler.std, std, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e9, 1.7e12])
def test_a_constant_column_scales_to_zero(value: float) -> None:
    scaler = OnlineScaler(1)
    for n in (1, 7, 256, 1000):
        scaler.learn_array(np.full((n, 1), value))
    assert scaler.transform_array(np.array([[value], [value + 1]])).tolist() == [[0.0], [0.0]]


def test_before_the_first_row_every_score_is_zero() -> None:
    assert OnlineScaler(2).transform_array(np.array([[3.0, 4.0]])).tolist() == [[0.0, 0.0]]


@given(TABLES, TABLES)
def test_a_restored_scaler_continues_in_the_same_way(before: Table, after: Table) -> None:
    scaler = learned(before, half_life_points=50.0)
    restored = OnlineScaler(3, 50.0)
    restored.restore(scaler.arrays())
    for one in (scaler, restored):
        one.learn_array(after)
    assert {n: a.tolist() for n, a in scaler.arrays().items()} == {
        n: a.tolist() for n, a in restored.arrays().items()
    }


@given(TABLES, TABLES)
def test_old_scores_can_be_converted_to_the_new_scale(before: Table, after: Table) -> None:
    scaler = learned(before)
    mean, std = scaler.mean.copy(), scaler.std.copy()
    scores = scaler.transform_array(before)
    scaler.learn_array(after)
    factor, shift = scaler.rescaling_from(mean, std)
    np.testing.assert_allclose(
        scores * factor + shift, scaler.transform_array(before), rtol=1e-6, atol=1e-6
    )
