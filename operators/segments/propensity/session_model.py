"""The chance that a running session buys: decided at events, learned when sessions are over.

Decisions and outcomes are taken in the order of event time, in lots of `LOT_MS`: what is said at an
event rests on the sessions that were over in the lots before it, however events came in batches.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity.chance_model import ChanceModel
from operators.segments.propensity.features import (
    HAS_CART,
    SESSION_EVENTS,
    SESSION_FEATURES,
    session_matrix,
)
from operators.segments.propensity.pending_decisions import Waiting
from operators.shoppers.features import COLUMNS
from operators.tables.table import Kept, with_prefix, without_prefix
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays, Table
    from state.messages import Visited

    Floats = NDArray[np.float64]

WAITING_MAX = 8_192
LOT_MS = MINUTE_MS
_TOLD = np.dtype([("key", "<u8"), ("at_ms", "<i8"), ("row", "<f8", (COLUMNS,))])
_DECIDED = np.dtype([("at_ms", "<i8"), ("key", "<u8"), ("point", "<f4", (len(SESSION_FEATURES),))])
_OUTCOME = np.dtype([("at_ms", "<i8"), ("key", "<u8"), ("bought", "u1")])


class SessionChances(Kept):
    """The model, the decisions that wait for the end of their session, and what is not due yet."""

    def __init__(self, labels_min: int) -> None:
        self.model = ChanceModel(len(SESSION_FEATURES), labels_min)
        self._waiting = Waiting(WAITING_MAX, len(SESSION_FEATURES))
        self._decided = np.empty(0, _DECIDED)
        self._outcomes = np.empty(0, _OUTCOME)

    def score(self, raw: Floats) -> Floats:
        """The chance of each, by feature rows [n, COLUMNS]; nan without a session."""
        chances = self.model.predict(session_matrix(raw))
        chances[raw[:, SESSION_EVENTS] == 0] = np.nan
        return chances

    def learn(self, visited: Sequence[Visited], watermark_ms: int) -> None:
        """Take in what shards tell; `watermark_ms` stood before: sessions that were over are known."""
        told = _stacked((one.decided for one in visited), _TOLD)
        if len(told):
            decided = np.empty(len(told), _DECIDED)
            decided["key"], decided["at_ms"] = told["key"], told["at_ms"]
            decided["point"] = session_matrix(told["row"])
            self._decided = np.concatenate([self._decided, decided])
        withdrawn = np.frombuffer(
            b"".join(chain.from_iterable(v.withdrawn for v in visited)), "<u8"
        )
        if len(withdrawn):
            self._decided = self._decided[~np.isin(self._decided["key"], withdrawn)]
            self._waiting.take(withdrawn)
        outcomes = _stacked((one.outcomes for one in visited), _OUTCOME)
        if len(outcomes):
            known = np.isin(outcomes["key"], self._decided["key"]) | self._waiting.has(
                outcomes["key"]
            )
            self._outcomes = np.concatenate([self._outcomes, outcomes[known]])
        if not len(self._decided) and not len(self._outcomes):
            return
        now = watermark_ms // LOT_MS
        decided_in, over_in = self._decided["at_ms"] // LOT_MS, self._outcomes["at_ms"] // LOT_MS
        decides, is_over = decided_in <= now, over_in < now
        for lot in np.union1d(decided_in[decides], over_in[is_over]).tolist():
            self._decide(self._decided[decided_in == lot])
            if lot < now:
                self._learn(self._outcomes[over_in == lot])
        self._decided, self._outcomes = self._decided[~decides], self._outcomes[~is_over]

    def _decide(self, decided: NDArray[Any]) -> None:
        if len(decided):
            decided = decided[np.lexsort((decided["key"], decided["at_ms"]))]
            said = self.model.predict(decided["point"].astype(np.float64))
            self._waiting.add(decided["key"], decided["point"], said.astype(np.float32))

    def _learn(self, outcomes: NDArray[Any]) -> None:
        if len(outcomes):
            outcomes = outcomes[np.lexsort((outcomes["key"], outcomes["at_ms"]))]
            places, points, said = self._waiting.take(outcomes["key"])
            bought = outcomes["bought"][places].astype(np.float64)
            wide = points.astype(np.float64)
            self.model.learn(wide, said.astype(np.float64), bought, wide[:, HAS_CART])

    def tables(self) -> Sequence[Table]:
        """Decisions that wait."""
        return self._waiting.tables()

    def small(self) -> Arrays:
        """The rest."""
        return {
            **with_prefix("model.", self.model.small()),
            **with_prefix("waiting.", self._waiting.small()),
            **with_prefix(
                "decided.", {name: self._decided[name] for name in _DECIDED.fields or ()}
            ),
            **with_prefix(
                "outcomes.", {name: self._outcomes[name] for name in _OUTCOME.fields or ()}
            ),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave."""
        self.model.restore(without_prefix("model.", arrays))
        table = {name: one for name, one in arrays.items() if "." not in name}
        self._waiting.restore({**table, **without_prefix("waiting.", arrays)})
        self._decided = _rebuilt(without_prefix("decided.", arrays), _DECIDED)
        self._outcomes = _rebuilt(without_prefix("outcomes.", arrays), _OUTCOME)


def _rebuilt(columns: Mapping[str, NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    rows = np.empty(len(columns["key"]), dtype)
    for name in dtype.fields or ():
        rows[name] = columns[name]
    return rows


def _stacked(parts: Iterable[list[bytes]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(b"".join(chain.from_iterable(parts)), dtype)
