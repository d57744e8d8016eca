"""What to call a cluster, in a marketer's words, and by how much it differs from everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SALIENT_SCORE = 0.3
"""Standard deviations from everybody's mean below which a feature is not worth a word."""

SALIENT_FEATURES_MAX = 5
"""A name may speak of so many features that stand out most before it is given up."""

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
"""Of each feature: what few of it is called, what much of it is called, and what it is about: two words
about the same say little more than one."""

ABSENT_PHRASES = {
    "purchases": (
        "hardly any orders",
        ("purchases", "revenue", "order_value", "purchase_gap_days"),
    ),
    "views": ("hardly any views", ("views", "price_level", "category_share")),
}
"""What a cluster is called in which hardly anybody has any, and of which features that is all there is
to say: where nothing was bought, orders are neither small nor long ago."""
ABSENT_BELOW = {"purchases": 0.1, "views": 0.5}
"""The typical number below which hardly anybody has any."""


DEPENDS_ON = dict.fromkeys(("visit_length_min", "visit_depth", "views", "price_level"), "views")
"""What features say nothing without: where nobody looks at anything, as in a log of orders alone, no
visit is short or deep."""
UNUSED_BELOW = 0.02
"""Everybody's typical number below which nobody has any."""


def informative_features(overall: Floats, feature_names: Sequence[str]) -> NDArray[np.bool_]:
    """Which features [F] say something, by everybody's typical values float64[F].

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
    """A short, distinct name for each cluster from its centre in standard scores float64[F], and the
    typical values float64[F] of its shoppers, if they are known. `informative` are the features
    [F] of which
    a name may speak, by default all.

    The two features that stand out most and are about different things; a third, or others, where two
    clusters would share a name; the cluster's number where all are used up. A name from `previous` stays
    as long as all it says is among the `SALIENT_FEATURES_MAX` features that stand out most.

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
    """The features [F] that stand out most, with the typical value as a multiple of everybody's."""
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
    """Of each feature, those that stand out most first: its phrase, what that is about, and whether it
    stands out."""
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
    """Whether a cluster would still be called so."""
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
