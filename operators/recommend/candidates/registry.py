"""The list learners by name. A new one: its file, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import Covisitation
from operators.recommend.candidates.factors import FactorsLearner
from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.revisits import Again
from operators.recommend.candidates.session_knn import SessionKnn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from operators.recommend.candidates.base import Learner

LEARNERS: Mapping[str, Callable[[], Learner]] = {
    "covisitation": Covisitation,
    "session_knn": SessionKnn,
    "again": Again,
    "factors": FactorsLearner,
    "content": Content,
    "popularity": Popularity,
}
