"""Matrix factorization: the same numbers as River's; a read changes nothing."""

import copy
import gzip
import pickle
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import checks, optim, reco
from river.reco.base import Ranker

from operators.models.river.mf_ranker import MatrixFactorizationRanker
from operators.models.river.session_factors_ranker import SessionFactorsRanker
from tests.shared import shared_data

Rating = tuple[Hashable, Hashable, Any]


def biased_mf(**rates: float) -> reco.BiasedMF:
    return reco.BiasedMF(
        n_factors=10,
        bias_optimizer=optim.SGD(rates.get("bias_rate", 0.025)),
        latent_optimizer=optim.SGD(rates.get("factor_rate", 0.05)),
        l2_bias=rates.get("l2_bias", 0.0),
        l2_latent=rates.get("l2_factors", 0.0),
        latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=73),
    )


def funk_mf(**rates: float) -> reco.FunkMF:
    return reco.FunkMF(
        n_factors=10,
        optimizer=optim.SGD(rates.get("factor_rate", 0.05)),
        l2=rates.get("l2_factors", 0.0),
        initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=73),
    )


def some_ratings(n: int, seed: int = 5) -> list[Rating]:
    """Ratings of 40 users and 60 items; the first ones are frequent, and new ones keep coming."""
    rng = np.random.default_rng(seed)
    users = np.minimum(rng.geometric(0.05, n), 40)
    items = np.minimum(rng.geometric(0.03, n), 60)
    return [
        (f"u{u}", ("item", int(i)), float(y))
        for u, i, y in zip(users, items, rng.integers(1, 6, n), strict=True)
    ]


@pytest.fixture(scope="module")
def movielens() -> list[Rating]:
    path = shared_data("movielens_100k/ml-100k.inter.gz")
    with gzip.open(path, "rt") as lines:
        next(lines)
        rows = [line.split() for line in lines]
    rows.sort(key=lambda row: int(float(row[3])))
    return [(user, item, float(rating)) for user, item, rating, _ in rows]


def progressive(model: Ranker, ratings: list[Rating]) -> NDArray[np.float64]:
    """The prediction of each rating before the model learns it."""
    said = []
    for user, item, y in ratings:
        said.append(model.predict_one(user, item))
        model.learn_one(user, item, y)
    return np.array(said)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias_rate": 0.1, "factor_rate": 0.02, "l2_bias": 0.03, "l2_factors": 0.05},
    ],
    ids=["plain", "regularized"],
)
@pytest.mark.parametrize(
    ("river_model", "biased"), [(biased_mf, True), (funk_mf, False)], ids=["BiasedMF", "FunkMF"]
)
def test_every_prediction_of_a_stream_equals_rivers(
    river_model: Callable[..., Ranker], biased: bool, settings: dict[str, Any]
) -> None:
    ratings = some_ratings(3000)
    ours = progressive(MatrixFactorizationRanker(biased=biased, seed=73, **settings), ratings)
    rivers = progressive(river_model(**settings), ratings)
    np.testing.assert_allclose(ours, rivers, rtol=0, atol=1e-9)


def test_on_movielens_every_prediction_equals_rivers_and_the_error_is_the_published_one(
    movielens: list[Rating],
) -> None:
    ours = progressive(MatrixFactorizationRanker(seed=73), movielens)
    rivers = progressive(biased_mf(), movielens)
    np.testing.assert_allclose(ours, rivers, rtol=0, atol=1e-9)
    error = np.clip(ours, 1, 5) - np.array([y for _, _, y in movielens])
    assert 0.7486 <= np.abs(error).mean() <= 0.7489
    assert np.sqrt((error**2).mean()) == pytest.approx(0.948, abs=0.0005)


@pytest.mark.parametrize("biased", [True, False])
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(1, 5)), max_size=60),
    st.integers(1, 60),
)
def test_a_batch_gives_the_same_result_as_its_ratings_one_by_one(
    biased: bool, ratings: list[tuple[int, int, int]], size: int
) -> None:
    one_by_one = MatrixFactorizationRanker(n_factors=3, seed=1, biased=biased)
    for rating in ratings:
        one_by_one.learn_one(*rating)
    batched = MatrixFactorizationRanker(n_factors=3, seed=1, biased=biased)
    for start in range(0, len(ratings), size):
        batched.learn_many(*zip(*ratings[start : start + size], strict=True))
    for name in ("user_factors", "item_factors", "user_bias", "item_bias"):
        np.testing.assert_allclose(
            getattr(batched.tables, name).rows, getattr(one_by_one.tables, name).rows, atol=1e-9
        )
    assert batched.tables.mean == pytest.approx(one_by_one.tables.mean, abs=1e-12)


@pytest.mark.parametrize(
    "model", [MatrixFactorizationRanker(), SessionFactorsRanker()], ids=lambda m: type(m).__name__
)
def test_it_passes_the_checks_of_river_estimators(model: Ranker) -> None:
    checks.check_estimator(model)


@pytest.mark.parametrize(
    "make",
    [lambda: MatrixFactorizationRanker(seed=3), lambda: SessionFactorsRanker(seed=3)],
    ids=["explicit", "implicit"],
)
class TestReads:
    def test_a_read_changes_nothing(
        self, make: Callable[[], MatrixFactorizationRanker | SessionFactorsRanker]
    ) -> None:
        asked, not_asked = make(), make()
        for n, (user, item, y) in enumerate(some_ratings(400)):
            asked.predict_one(user, ("never", n))
            asked.predict_one(("nobody", n), item)
            asked.rank(("nobody", n), {item, ("never", n)})
            for model in (asked, not_asked):
                model.learn_one(user, item, y)
        users, items = {u for u, _, _ in some_ratings(400)}, {i for _, i, _ in some_ratings(400)}
        assert [asked.predict_one(u, i) for u in users for i in items] == [
            not_asked.predict_one(u, i) for u in users for i in items
        ]
        assert len(pickle.dumps(asked)) == len(pickle.dumps(not_asked))

    def test_a_ranking_is_sorted_by_prediction_also_for_unseen_ids(
        self, make: Callable[[], MatrixFactorizationRanker | SessionFactorsRanker]
    ) -> None:
        model = make()
        for user, item, y in some_ratings(400):
            model.learn_one(user, item, y)
        items = [("item", n) for n in range(70)]
        for user in ("u1", "u2", "nobody"):
            ranked = model.rank(user, items)
            assert Counter(ranked) == Counter(items)
            scores = [model.predict_one(user, item) for item in ranked]
            assert all(a >= b - 1e-6 for a, b in pairwise(scores))

    def test_a_copy_and_a_pickle_continue_in_the_same_way(
        self, make: Callable[[], MatrixFactorizationRanker | SessionFactorsRanker]
    ) -> None:
        model = make()
        first, then = some_ratings(300)[:200], some_ratings(300)[200:]
        for rating in first:
            model.learn_one(*rating)
        others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        said = progressive(model, then).tolist()
        assert [progressive(other, then).tolist() for other in others] == [said, said]


def test_the_prediction_for_an_unseen_user_uses_what_is_known_of_the_item() -> None:
    model = MatrixFactorizationRanker(n_factors=2, sigma=0.0)
    for _ in range(100):
        model.learn_one("ann", "good", 5)
        model.learn_one("ann", "bad", 1)
    assert model.predict_one("bob", "good") > model.predict_one("bob", "new")
    assert model.predict_one("bob", "new") == model.tables.mean == pytest.approx(3)
    assert model.rank("bob", ["bad", "new", "good"]) == ["good", "new", "bad"]


def test_single_precision_tables_give_nearly_the_same() -> None:
    ratings = some_ratings(1000)
    single = progressive(MatrixFactorizationRanker(seed=73, dtype="float32"), ratings)
    np.testing.assert_allclose(
        single, progressive(MatrixFactorizationRanker(seed=73), ratings), atol=1e-3
    )


def test_a_false_y_is_ignored() -> None:
    model = SessionFactorsRanker()
    model.learn_one("ann", "mug", False)
    assert model.predict_one("ann", "mug") == 0.0
    assert len(model.model.vectors) == 0


def test_the_context_of_a_request_counts_for_an_unseen_user() -> None:
    model = SessionFactorsRanker(seed=1)
    for n in range(300):
        for item, before in (("cup", "mug"), ("hat", "cap")):
            model.learn_one(n, item, True, {"at_ms": n, "context": [before]})
            model.learn_one(n, before, True, {"at_ms": n, "context": [item]})
    assert set(model.rank("new", ["hat", "mug", "cap", "cup"], {"context": ["cup"]})[:2]) == {
        "mug",
        "cup",
    }
