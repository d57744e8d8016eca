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

HARDLY = {
    "purchases": (
        "hardly any orders",
        ("purchases", "revenue", "order_value", "purchase_gap_days"),
    ),
    "views": ("hardly any views", ("views", "price_level", "category_share")),
}
"""What a cluster is called in which hardly anybody has any, and of which features that is all there is
to say: where nothing was bought, orders are neither small nor long ago."""
HARDLY_MOST = {"purchases": 0.1, "views": 0.5}
"""The typical number below which hardly anybody has any."""


RESTS_ON = dict.fromkeys(("visit_length_min", "visit_depth", "views", "price_level"), "views")
"""What features say nothing without: where nobody looks at anything, as in a log of orders alone, no
visit is short or deep."""
NOBODY_MOST = 0.02
"""Everybody's typical number below which nobody has any."""


def says(of_all: Floats, feature_names: Sequence[str]) -> NDArray[np.bool_]:
    """Which features [F] say something, by everybody's typical values float64[F].

    >>> says(np.array([0.0, 1.2, 3.0]), ["views", "visit_depth", "purchases"]).tolist()
    [False, False, True]
    """
    there = dict(zip(feature_names, (of_all >= NOBODY_MOST).tolist(), strict=True))
    return np.array([there.get(RESTS_ON.get(name, ""), True) for name in feature_names], np.bool_)


def names(
    deviations: Mapping[int, Floats],
    feature_names: Sequence[str],
    before: Mapping[int, str] | None = None,
    typical: Mapping[int, Floats] | None = None,
    spoken: NDArray[np.bool_] | None = None,
) -> dict[int, str]:
    """A short, distinct name for each cluster from its centre in standard scores float64[F], and the
    typical values float64[F] of its shoppers, if they are known. `spoken` are the features [F] of which
    a name may speak, by default all.

    The two features that stand out most and are about different things; a third, or others, where two
    clusters would share a name; the cluster's number where all are used up. A name from `before` stays
    as long as all it says is among the `SAYS` features that stand out most.

    >>> names({0: np.array([2.0, 0.4]), 1: np.array([-0.1, -0.2])}, ["revenue", "visits"])
    {0: 'Big spenders, frequent visitors', 1: 'Average'}
    >>> names({0: np.array([1.0, 1.2])}, ["revenue", "visits"], {0: "Big spenders, frequent visitors"})
    {0: 'Big spenders, frequent visitors'}
    >>> names({0: np.array([-1.0, 0.4])}, ["order_value", "purchases"], None, {0: np.array([0.0, 0.0])})
    {0: 'Hardly any orders'}
    """
    said = {
        cluster: list(_said(scores, feature_names, typical[cluster] if typical else None, spoken))
        for cluster, scores in sorted(deviations.items())
    }
    found = {
        cluster: before[cluster]
        for cluster, phrases in said.items()
        if before and cluster in before and _is_true(before[cluster], phrases)
    }
    for cluster, phrases in said.items():
        if cluster not in found:
            taken = set(found.values())
            found[cluster] = next(name for name in _options(cluster, phrases) if name not in taken)
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


def _said(
    scores: Floats,
    feature_names: Sequence[str],
    typical: Floats | None,
    spoken: NDArray[np.bool_] | None,
) -> Iterator[tuple[str, str, bool]]:
    """Of each feature, those that stand out most first: its phrase, what that is about, and whether it
    stands out."""
    hardly: dict[str, tuple[str, str]] = {}
    for of, (phrase, features) in HARDLY.items():
        if typical is None or of not in feature_names:
            continue
        if spoken is not None and not spoken[feature_names.index(of)]:
            continue
        if typical[feature_names.index(of)] < HARDLY_MOST[of]:
            hardly |= dict.fromkeys(features, (phrase, WORDS[of][2]))
    for f in np.argsort(-np.abs(scores), kind="stable").tolist():
        if spoken is not None and not spoken[f]:
            continue
        name = feature_names[f]
        phrase, about = hardly.get(name) or (_phrase(name, float(scores[f])), _about(name))
        yield phrase, about, bool(abs(scores[f]) >= STANDS_OUT)


def _is_true(name: str, said: Sequence[tuple[str, str, bool]]) -> bool:
    """Whether a cluster would still be called so."""
    striking = {phrase for phrase, _, stands_out in said[:SAYS] if stands_out} or {"average"}
    phrases = (name[0].lower() + name[1:]).split(" (")[0].split(", ")
    return striking.issuperset(phrases)


def _options(cluster: int, said: Sequence[tuple[str, str, bool]]) -> Iterator[str]:
    different: dict[str, str] = {}
    for phrase, about, stands_out in said:
        if stands_out:
            different.setdefault(about, phrase)
    phrases = [*different.values()]
    head = phrases[:2]
    yield _joined(head)
    for third in (*phrases[2:], *(phrase for phrase, _, _ in said if phrase not in head)):
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
