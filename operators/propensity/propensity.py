"""What the learning step calls: decisions and outcomes in, chances out. Changes its state in place.

The names of the arrays are stored; everything else is free.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from operators.features import COLUMNS
from operators.learners.table import Kept, Table, with_prefix, without_prefix
from operators.propensity.features import (
    SESSION_EVENTS,
    SESSION_FEATURES,
    VERSION,
    session_matrix,
)
from operators.propensity.model import ChanceModel
from operators.propensity.scores import Shown
from operators.propensity.waiting import Waiting
from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state import config
    from state.messages import Visited, Write

    Floats = NDArray[np.float64]

SESSION = "p_buy_session"
HAS_CART = SESSION_FEATURES.index("session_has_cart")
"""What the plain rule says: who has something in the cart buys."""
WAITING_MAX = 8192
_DECIDED = np.dtype([("key", "<u8"), ("row", "<f8", (COLUMNS,))])
_OUTCOME = np.dtype([("key", "<u8"), ("bought", "u1")])


class Propensity(Kept):
    """All models, and the decisions that wait for their outcomes."""

    def __init__(self, settings: config.Propensity) -> None:
        self._on = settings.sampled_share > 0.0
        self._session = ChanceModel(len(SESSION_FEATURES), settings.labels_min)
        self._waiting = Waiting(WAITING_MAX, len(SESSION_FEATURES))
        self._shown = Shown(SESSION)

    def learn(self, visited: Sequence[Visited]) -> None:
        """Take in a batch: outcomes first, then the decisions that were taken in it."""
        outcomes = _stacked((one.outcomes for one in visited), _OUTCOME)
        decided = _stacked((one.decided for one in visited), _DECIDED)
        if len(outcomes):
            places, points, said = self._waiting.take(outcomes["key"])
            bought = outcomes["bought"][places].astype(np.float64)
            wide = points.astype(np.float64)
            self._session.learn(wide, said.astype(np.float64), bought, wide[:, HAS_CART])
        if len(decided):
            seen = session_matrix(decided["row"])
            chances = self._session.predict(seen)
            self._waiting.add(decided["key"], seen.astype(np.float32), chances.astype(np.float32))

    def told(
        self, profiles: Sequence[str], counts: Sequence[int], raw: Floats
    ) -> tuple[Sequence[str], Sequence[int]]:
        """Packed commands that write profiles and their numbers of arguments, with what the models
        say of feature rows [n, COLUMNS]; as they are before anything can be said."""
        if not self._session.ready:
            return profiles, counts
        chances = self._session.predict(session_matrix(raw))
        chances[raw[:, SESSION_EVENTS] == 0] = np.nan
        texts = self._shown.texts(chances)
        return [*map(str.__add__, profiles, texts)], [count + 2 for count in counts]

    def models(self, now_ms: int) -> list[Write]:
        """How good each model is."""
        return [_model(SESSION, self._session, now_ms)] if self._on else []

    def tables(self) -> Sequence[Table]:
        """Decisions that wait."""
        return [table.named("waiting.") for table in self._waiting.tables()]

    def small(self) -> Arrays:
        """Models and judges."""
        return {
            "version": np.array([VERSION]),
            **with_prefix("session.", self._session.small()),
            **with_prefix("waiting.", self._waiting.small()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave; one of other features is left behind."""
        if "version" in arrays and arrays["version"][0] == VERSION:
            self._session.restore(without_prefix("session.", arrays))
            self._waiting.restore(without_prefix("waiting.", arrays))


def _stacked(parts: Iterable[list[bytes]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(b"".join(chain.from_iterable(parts)), dtype)


def _model(name: str, model: ChanceModel, now_ms: int) -> Write:
    judge = model.judge
    no, yes = model.labels.tolist()
    bins = [[one.n, round(one.predicted, 4), round(one.observed, 4)] for one in judge.reliability()]
    status = "live" if model.ready else f"learning: {yes} of {model.labels_min} that did"
    if yes >= model.labels_min > no:
        status = f"learning: {no} of {model.labels_min} that did not"
    fields: list[str | int | float] = ["HSET", keys.model_key(name), "version", VERSION]
    fields += ["algorithm", "logistic regression", "status", status, "trained_ms", now_ms]
    fields += ["events", no + yes, "labels", no + yes, "positives", yes, "judged", judge.labels]
    for field, figure in (
        ("auc", judge.auc),
        ("auc_of_rule", model.rule.auc),
        ("log_loss", judge.log_loss),
        ("log_loss_of_rate", judge.log_loss_of_rate),
        ("calibration_error", judge.calibration_error),
    ):
        fields += [field, f"{figure:.4f}"]
    return (*fields, "calibration", orjson.dumps(bins).decode())
