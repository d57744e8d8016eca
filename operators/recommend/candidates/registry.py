"""The candidate generators by name. To add one: its file, and a line in `LEARNERS`.

The names are stored and public. The order here decides ties in the blend, and so what lists look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import Covisitation
from operators.recommend.candidates.factors import SessionFactorsReranker
from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.revisits import OftenVisited, Revisits
from operators.recommend.candidates.session_knn import SessionKnn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from operators.recommend.candidates.base import CandidateLearner

LEARNERS: Mapping[str, Callable[[], CandidateLearner]] = {
    "covisitation": Covisitation,
    "session_knn": SessionKnn,
    "again": Revisits,
    "often": OftenVisited,
    "factors": SessionFactorsReranker,
    "content": Content,
    "popularity": Popularity,
}

_PRIOR_WEIGHTS: Mapping[str, float] = {
    "covisitation": 0.5,
    "session_knn": 0.5,
    "again": 0.2,
    "often": 0.2,
    "factors": 0.2,
    "content": 0.2,
}
_PRIOR_DEFAULT = 0.1


def prior_weight(learner: str) -> float:
    """The weight of a learner in the blend before anything is learned: a new one needs no line here."""
    return _PRIOR_WEIGHTS.get(learner, _PRIOR_DEFAULT)
