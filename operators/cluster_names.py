"""What to call a cluster, in a marketer's words, and by how much it differs from everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

STANDS_OUT = 0.3
"""Standard deviations from everybody's mean below which a feature is not worth a word."""

SAYS = 5
"""A name may speak of so many features that stand out most before it is given up."""

WORDS = {
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


def names(
    deviations: Mapping[int, Floats],
    feature_names: Sequence[str],
    before: Mapping[int, str] | None = None,
) -> dict[int, str]:
    """A short, distinct name for each cluster from its centre in standard scores float64[F].

    The two features that stand out most and are about different things; a third, or others, where two
    clusters would share a name; the cluster's number where all are used up. A name from `before` stays
    as long as all it says is among the `SAYS` features that stand out most.

    >>> names({0: np.array([2.0, 0.4]), 1: np.array([-0.1, -0.2])}, ["revenue", "visits"])
    {0: 'Big spenders, frequent visitors', 1: 'Average'}
    >>> names({0: np.array([1.0, 1.2])}, ["revenue", "visits"], {0: "Big spenders, frequent visitors"})
    {0: 'Big spenders, frequent visitors'}
    """
    found = {
        cluster: before[cluster]
        for cluster, scores in sorted(deviations.items())
        if before and cluster in before and _is_true(before[cluster], scores, feature_names)
    }
    for cluster, scores in sorted(deviations.items()):
        if cluster not in found:
            taken = set(found.values())
            found[cluster] = next(
                name for name in _options(cluster, scores, feature_names) if name not in taken
            )
    return found


def lifts(
    typical: Floats, of_all: Floats, scores: Floats, feature_names: Sequence[str], most: int = 4
) -> list[tuple[str, float]]:
    """The features [F] that stand out most, with the typical value as a multiple of everybody's."""
    order = np.argsort(-np.abs(scores), kind="stable")
    return [
        (feature_names[f], float(typical[f] / of_all[f]))
        for f in order.tolist()
        if abs(scores[f]) >= STANDS_OUT and of_all[f] > 0
    ][:most]


def _is_true(name: str, scores: Floats, feature_names: Sequence[str]) -> bool:
    """Whether a cluster would still be called so."""
    order = np.argsort(-np.abs(scores), kind="stable")[:SAYS].tolist()
    striking = [f for f in order if abs(scores[f]) >= STANDS_OUT]
    said = {_phrase(feature_names[f], float(scores[f])) for f in striking} or {"average"}
    phrases = (name[0].lower() + name[1:]).split(" (")[0].split(", ")
    return said.issuperset(phrases)


def _options(cluster: int, scores: Floats, feature_names: Sequence[str]) -> Iterator[str]:
    order = np.argsort(-np.abs(scores), kind="stable").tolist()
    striking = [f for f in order if abs(scores[f]) >= STANDS_OUT]
    different: list[int] = []
    about: set[str] = set()
    for f in striking:
        if _about(feature_names[f]) not in about:
            about.add(_about(feature_names[f]))
            different.append(f)
    phrases = [_phrase(feature_names[f], float(scores[f])) for f in different]
    head = phrases[:2]
    yield _joined(head)
    for third in phrases[2:]:
        yield _joined([*head, third])
    rest = [_phrase(feature_names[f], float(scores[f])) for f in order if f not in different[:2]]
    for third in rest:
        yield _joined([*head, third])
    yield f"{_joined(head)} ({cluster})"


def _joined(phrases: Sequence[str]) -> str:
    name = ", ".join(phrases) or "average"
    return name[0].upper() + name[1:]


def _about(feature: str) -> str:
    return WORDS[feature][2] if feature in WORDS else feature


def _phrase(feature: str, score: float) -> str:
    if feature in WORDS:
        return WORDS[feature][score > 0]
    return f"{'high' if score > 0 else 'low'} {feature.replace('_', ' ')}"
