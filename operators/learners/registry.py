"""The list learners by name. A new one: its file, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.learners.again import Again
from operators.learners.content import Content
from operators.learners.covisitation import Covisitation
from operators.learners.factors import FactorsLearner
from operators.learners.popularity import Popularity
from operators.learners.session_knn import SessionKnn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from operators.learners.base import Learner

LEARNERS: Mapping[str, Callable[[], Learner]] = {
    "covisitation": Covisitation,
    "session_knn": SessionKnn,
    "again": Again,
    "factors": FactorsLearner,
    "content": Content,
    "popularity": Popularity,
}
