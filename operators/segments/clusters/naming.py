"""Names for clusters in a marketer's words, and their lifts over the average shopper.

Change freely: the phrases and limits. A name stays as long as it holds, so new phrases show only
after a review of all clusters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SALIENT_SCORE = 0.3
"""A feature is worth a phrase from so many standard deviations from the average."""

SALIENT_FEATURES_MAX = 5
"""A name stays as long as all its phrases are among so many most salient features."""

PHRASES = {
    "visits": ("rare visitors", "frequent visitors", "visits"),
    "tenure_days": ("newcomers", "known for long", "visits"),
    "visit_length_min": ("short visits", "long visits", "browsing"),
    "visit_depth": ("quick looks", "deep browsers", "browsing"),
    "views": ("few views", "many views", "browsing"),
    "cart_rate": ("seldom use the cart", "often use the cart", "cart"),
    "purchases": ("few orders", "many orders", "buying"),
    "revenue": ("low spend", "big spenders", "buying"),
    "order_value": ("small orders", "large orders", "buying"),
    "price_level": ("look at low prices", "look at high prices", "prices"),
    "purchase_gap_days": ("no long wait since an order", "long without an order", "waiting"),
    "category_share": ("many categories", "one category", "taste"),
}
"""Of each feature: the phrase for a low value, the phrase for a high value, and the topic. Two
phrases of one topic say little more than one."""

ABSENT_PHRASES = {
    "purchases": (
        "hardly any orders",
        ("purchases", "revenue", "order_value", "purchase_gap_days"),
    ),
    "views": ("hardly any views", ("views", "price_level", "category_share")),
}
"""The phrase for a cluster whose shoppers hardly have any of this, and the features that it
replaces: without orders, a small order value or a long time since the last order means nothing."""
ABSENT_BELOW = {"purchases": 0.1, "views": 0.5}
"""A typical number below this counts as hardly any."""


DEPENDS_ON = dict.fromkeys(("visit_length_min", "visit_depth", "views", "price_level"), "views")
"""Features that say nothing without another one: in a log of orders alone no visit is short or
deep."""
UNUSED_BELOW = 0.02
"""A feature whose typical value over all shoppers is below this is not used in the shop."""


def informative_features(overall: Floats, feature_names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which features [F] are informative, by the typical values of all shoppers float64[F].

    >>> informative_features(np.array([0.0, 1.2, 3.0]), ["views", "visit_depth", "purchases"]).tolist()
    [False, False, True]
    """
    is_used = dict(zip(feature_names, (overall >= UNUSED_BELOW).tolist(), strict=True))
    return np.array(
        [is_used.get(DEPENDS_ON.get(name, ""), True) for name in feature_names], np.bool_
    )


def name_clusters(
    deviations: Mapping[int, Floats],
    feature_names: Sequence[str],
    previous: Mapping[int, str] | None = None,
    typical: Mapping[int, Floats] | None = None,
    informative: NDArray[np.bool_] | None = None,
) -> dict[int, str]:
    """Return a short, distinct name for each cluster.

    `deviations` are the centres in standard scores float64[F]; `typical` the typical values of the
    clusters' shoppers float64[F], if known; `informative` the features [F] that a name may use, by
    default all.

    A name has the two most salient features of different topics. Where two clusters would share a
    name, a third or another phrase is added; where all are used up, the cluster's number. A
    `previous` name stays as long as all its phrases are among the `SALIENT_FEATURES_MAX` most
    salient features.

    >>> features = ["revenue", "visits"]
    >>> name_clusters({0: np.array([2.0, 0.4]), 1: np.array([-0.1, -0.2])}, features)
    {0: 'Big spenders, frequent visitors', 1: 'Average'}
    >>> name_clusters({0: np.array([1.0, 1.2])}, features, {0: "Big spenders, frequent visitors"})
    {0: 'Big spenders, frequent visitors'}
    >>> features, no_orders = ["order_value", "purchases"], {0: np.array([0.0, 0.0])}
    >>> name_clusters({0: np.array([-1.0, 0.4])}, features, None, no_orders)
    {0: 'Hardly any orders'}
    """
    phrases_of = {
        cluster: list(
            _phrases(scores, feature_names, typical[cluster] if typical else None, informative)
        )
        for cluster, scores in sorted(deviations.items())
    }
    names = {
        cluster: previous[cluster]
        for cluster, phrases in phrases_of.items()
        if previous and cluster in previous and _still_holds(previous[cluster], phrases)
    }
    for cluster, phrases in phrases_of.items():
        if cluster not in names:
            taken = set(names.values())
            names[cluster] = next(
                name for name in _name_options(cluster, phrases) if name not in taken
            )
    return names


def feature_lifts(
    typical: Floats, overall: Floats, scores: Floats, feature_names: Sequence[str], limit: int = 4
) -> list[tuple[str, float]]:
    """Return the most salient features with the cluster's typical value as a multiple of the
    average."""
    order = np.argsort(-np.abs(scores), kind="stable")
    return [
        (feature_names[f], float(typical[f] / overall[f]))
        for f in order.tolist()
        if abs(scores[f]) >= SALIENT_SCORE and overall[f] > 0
    ][:limit]


def _phrases(
    scores: Floats,
    feature_names: Sequence[str],
    typical: Floats | None,
    informative: NDArray[np.bool_] | None,
) -> Iterator[tuple[str, str, bool]]:
    """Yield each feature, the most salient first: its phrase, its topic, whether it is salient."""
    absent: dict[str, tuple[str, str]] = {}
    for measure, (phrase, features) in ABSENT_PHRASES.items():
        if typical is None or measure not in feature_names:
            continue
        if informative is not None and not informative[feature_names.index(measure)]:
            continue
        if typical[feature_names.index(measure)] < ABSENT_BELOW[measure]:
            absent |= dict.fromkeys(features, (phrase, PHRASES[measure][2]))
    for f in np.argsort(-np.abs(scores), kind="stable").tolist():
        if informative is not None and not informative[f]:
            continue
        name = feature_names[f]
        phrase, topic = absent.get(name) or (_phrase(name, float(scores[f])), _topic(name))
        yield phrase, topic, bool(abs(scores[f]) >= SALIENT_SCORE)


def _still_holds(name: str, phrases: Sequence[tuple[str, str, bool]]) -> bool:
    """Return whether the name still describes the cluster."""
    salient = {
        phrase for phrase, _, stands_out in phrases[:SALIENT_FEATURES_MAX] if stands_out
    } or {"average"}
    named = (name[0].lower() + name[1:]).split(" (")[0].split(", ")
    return salient.issuperset(named)


def _name_options(cluster: int, phrases: Sequence[tuple[str, str, bool]]) -> Iterator[str]:
    by_topic: dict[str, str] = {}
    for phrase, topic, stands_out in phrases:
        if stands_out:
            by_topic.setdefault(topic, phrase)
    distinct = [*by_topic.values()]
    head = distinct[:2]
    yield _join(head)
    for third in (*distinct[2:], *(phrase for phrase, _, _ in phrases if phrase not in head)):
        yield _join([*head, third])
    yield f"{_join(head)} ({cluster})"


def _join(phrases: Sequence[str]) -> str:
    name = ", ".join(phrases) or "average"
    return name[0].upper() + name[1:]


def _topic(feature: str) -> str:
    return PHRASES[feature][2] if feature in PHRASES else feature


def _phrase(feature: str, score: float) -> str:
    if feature in PHRASES:
        return PHRASES[feature][score > 0]
    return f"{'high' if score > 0 else 'low'} {feature.replace('_', ' ')}"
