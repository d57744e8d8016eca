"""Names of clusters, and their lifts over the average shopper."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.clusters.naming import PHRASES, feature_lifts, name_clusters
from operators.shoppers.features import FEATURES


def test_names_have_the_salient_features_of_different_topics() -> None:
    features = ["revenue", "order_value", "visits", "tenure_days", "category_share"]
    assert name_clusters(
        {
            0: np.array([2.0, 1.9, 1.0, 0.0, 0.1]),
            1: np.array([-0.4, -0.5, -1.6, -1.7, 0.0]),
            2: np.array([0.1, 0.0, 0.0, 0.0, -0.9]),
            3: np.array([2.1, 0.0, 1.1, 0.0, 0.8]),
            4: np.array([0.1, 0.0, 0.2, 0.0, 0.0]),
        },
        features,
    ) == {
        0: "Big spenders, frequent visitors",
        1: "Newcomers, small orders",
        2: "Many categories",
        3: "Big spenders, frequent visitors, one category",
        4: "Average",
    }


def test_without_purchases_a_name_says_nothing_of_orders() -> None:
    features = ["purchases", "order_value", "purchase_gap_days", "tenure_days"]
    scores = {
        0: np.array([-0.7, -1.2, 1.5, 0.9]),
        1: np.array([-0.6, -1.3, -0.5, 0.2]),
        2: np.array([-0.6, -1.3, -0.5, 0.2]),
    }
    names = {0: np.array([0.02, 0.1, 9.0, 9.0]), 1: np.array([0.9, 3.0, 1.0, 5.0])}
    assert name_clusters(scores, features, None, names | {2: names[0]}) == {
        0: "Hardly any orders, known for long",
        1: "Small orders, no long wait since an order",
        2: "Hardly any orders",
    }


def test_lifts_compare_typical_values_with_the_average() -> None:
    names = feature_lifts(
        np.array([30.0, 1.0, 2.0]), np.array([10.0, 4.0, 2.0]), np.array([1.0, -2.0, 0.0]), "abc"
    )
    assert names == [("b", 0.25), ("a", 3.0)]


def test_every_feature_has_phrases_of_its_own() -> None:
    assert PHRASES.keys() == set(FEATURES)
    phrases = [word for low, high, _ in PHRASES.values() for word in (low, high)]
    assert len(set(phrases)) == len(phrases)


@given(st.lists(st.lists(st.floats(-3, 3), min_size=2, max_size=2), min_size=1, max_size=9))
def test_names_are_distinct_and_deterministic(centres: list[list[float]]) -> None:
    deviations = {j: np.array(centre) for j, centre in enumerate(centres)}
    names = name_clusters(deviations, ["revenue", "sessions"])
    assert len(set(names.values())) == len(centres)
    assert name_clusters(dict(reversed(deviations.items())), ["revenue", "sessions"]) == names


def test_a_new_feature_has_a_phrase_even_before_it_has_one_of_its_own() -> None:
    features = [*FEATURES, "returned_items"]
    scores = np.zeros(len(features))
    scores[-1] = 2.0
    assert name_clusters({0: scores, 1: -scores}, features) == {
        0: "High returned items",
        1: "Low returned items",
    }
