"""The chance that an open session buys: decisions at events, learned when sessions are over.

Decisions and outcomes are processed in the order of event time, in lots of `LOT_MS`. A prediction
rests on the sessions that were over in earlier lots, so results do not depend on batches.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity.chance_model import ChanceModel
from operators.segments.propensity.estimators import named_classifier, named_metrics
from operators.segments.propensity.features import (
    HAS_CART,
    SESSION_EVENTS,
    SESSION_FEATURES,
    session_matrix,
)
from operators.segments.propensity.pending_decisions import PendingDecisions
from operators.shoppers.features import COLUMN_COUNT
from operators.tables.table import TableState, add_prefix, strip_prefix
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.tables.table import Arrays, Table
    from state import config
    from state.messages import ShardOutput
    from state.training import PropensityEvents

    Floats = NDArray[np.float64]

WAITING_MAX = 8_192
LOT_MS = MINUTE_MS
_DECISION = np.dtype([("key", "<u8"), ("at_ms", "<i8"), ("row", "<f8", (COLUMN_COUNT,))])
_DECIDED = np.dtype([("at_ms", "<i8"), ("key", "<u8"), ("point", "<f4", (len(SESSION_FEATURES),))])
_OUTCOME = np.dtype([("at_ms", "<i8"), ("key", "<u8"), ("bought", "u1")])


class SessionModel(TableState):
    """The model, the decisions of open sessions, and what event time has not reached yet."""

    def __init__(self, settings: config.Propensity, errors: ProcessingErrors | None = None) -> None:
        self.model = ChanceModel(
            len(SESSION_FEATURES),
            settings.labels_min,
            estimator=named_classifier(settings, SESSION_FEATURES, errors),
            metrics=named_metrics(settings, errors),
        )
        self._pending = PendingDecisions(WAITING_MAX, len(SESSION_FEATURES))
        self._decided = np.empty(0, _DECIDED)
        self._outcomes = np.empty(0, _OUTCOME)

    def score(self, raw: Floats) -> Floats:
        """Return the chance for feature rows [n, COLUMNS]; nan without an open session."""
        chances = self.model.predict(session_matrix(raw))
        chances[raw[:, SESSION_EVENTS] == 0] = np.nan
        return chances

    def learn(self, outputs: Sequence[ShardOutput | PropensityEvents], watermark_ms: int) -> None:
        """Take in the shards' decisions and outcomes, up to `watermark_ms`: the watermark before
        the batch."""
        decisions = _stack((one.decisions for one in outputs), _DECISION)
        if len(decisions):
            decided = np.empty(len(decisions), _DECIDED)
            decided["key"], decided["at_ms"] = decisions["key"], decisions["at_ms"]
            decided["point"] = session_matrix(decisions["row"])
            self._decided = np.concatenate([self._decided, decided])
        withdrawn = np.frombuffer(
            b"".join(chain.from_iterable(v.withdrawn_decisions for v in outputs)), "<u8"
        )
        if len(withdrawn):
            self._decided = self._decided[~np.isin(self._decided["key"], withdrawn)]
            self._pending.take(withdrawn)
        outcomes = _stack((one.session_outcomes for one in outputs), _OUTCOME)
        if len(outcomes):
            decided_keys = set(self._decided["key"].tolist())
            known = [
                key in decided_keys or key in self._pending for key in outcomes["key"].tolist()
            ]
            self._outcomes = np.concatenate([self._outcomes, outcomes[known]])
        if not len(self._decided) and not len(self._outcomes):
            return
        self._process_lots(watermark_ms // LOT_MS)

    def _process_lots(self, current_lot: int) -> None:
        """Take in decisions up to the current lot, and outcomes before it, lot by lot."""
        is_due = self._decided["at_ms"] // LOT_MS <= current_lot
        is_known = self._outcomes["at_ms"] // LOT_MS < current_lot
        decided, outcomes = _in_order(self._decided[is_due]), _in_order(self._outcomes[is_known])
        decision_lot, outcome_lot = decided["at_ms"] // LOT_MS, outcomes["at_ms"] // LOT_MS
        lots = np.unique(np.concatenate([decision_lot, outcome_lot]))
        decision_ends = np.searchsorted(decision_lot, lots, "right").tolist()
        outcome_ends = np.searchsorted(outcome_lot, lots, "right").tolist()
        decision_start = outcome_start = 0
        for decision_end, outcome_end in zip(decision_ends, outcome_ends, strict=True):
            if decision_end > decision_start:
                self._decide(decided[decision_start:decision_end])
            if outcome_end > outcome_start:
                self._learn(outcomes[outcome_start:outcome_end])
            decision_start, outcome_start = decision_end, outcome_end
        if len(decided):
            self._decided = self._decided[~is_due]
        if len(outcomes):
            self._outcomes = self._outcomes[~is_known]

    def _decide(self, decided: NDArray[Any]) -> None:
        predicted = self.model.predict(decided["point"].astype(np.float64))
        self._pending.add(decided["key"], decided["point"], predicted.astype(np.float32))

    def _learn(self, outcomes: NDArray[Any]) -> None:
        indexes, points, predicted = self._pending.take(outcomes["key"])
        if len(indexes):
            bought = outcomes["bought"][indexes].astype(np.float64)
            wide = points.astype(np.float64)
            self.model.learn(wide, predicted.astype(np.float64), bought, wide[:, HAS_CART])

    def tables(self) -> Sequence[Table]:
        """The pending decisions, and the model where it is large."""
        of_model = (table.prefixed("model.") for table in self.model.tables())
        return [*self._pending.tables(), *of_model]

    def scalars(self) -> Arrays:
        """The model, and what event time has not reached yet."""
        return {
            **add_prefix("model.", self.model.scalars()),
            **add_prefix("waiting.", self._pending.scalars()),
            **add_prefix("decided.", {name: self._decided[name] for name in _DECIDED.fields or ()}),
            **add_prefix(
                "outcomes.", {name: self._outcomes[name] for name in _OUTCOME.fields or ()}
            ),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned."""
        self.model.restore(strip_prefix("model.", arrays))
        table = {name: one for name, one in arrays.items() if "." not in name}
        self._pending.restore({**table, **strip_prefix("waiting.", arrays)})
        self._decided = _to_records(strip_prefix("decided.", arrays), _DECIDED)
        self._outcomes = _to_records(strip_prefix("outcomes.", arrays), _OUTCOME)


def _in_order(records: NDArray[Any]) -> NDArray[Any]:
    """Records in the order of time, at one time of keys."""
    return records[np.lexsort((records["key"], records["at_ms"]))]


def _to_records(columns: Mapping[str, NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    rows = np.empty(len(columns["key"]), dtype)
    for name in dtype.fields or ():
        rows[name] = columns[name]
    return rows


def _stack(parts: Iterable[list[bytes]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(b"".join(chain.from_iterable(parts)), dtype)
