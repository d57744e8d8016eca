"""The list learners by name. A new one: its file, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.learners.again import Again
from operators.learners.covisitation import Covisitation
from operators.learners.factors import FactorsLearner
from operators.learners.popularity import Popularity
from operators.learners.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from operators.learners.base import Learner

LEARNERS: Mapping[str, Callable[[], Learner]] = {
    "covisitation": Covisitation,
    "sessions": Sessions,
    "again": Again,
    "factors": FactorsLearner,
    "popularity": Popularity,
}
