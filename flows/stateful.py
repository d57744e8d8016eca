"""The one bridge from a plain operator to Bytewax keyed state.

A `KeyedOperator` folds messages in place and can be stored. Renaming a step id silently restarts
its state
from empty: the ids in `personalize.py` are stored names.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import bytewax.operators as op
from bytewax.operators import StatefulBatchLogic

from flows.observability import metrics
from flows.process import liveness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bytewax.operators import KeyedStream

    from state.journal import Journals

M = TypeVar("M")
R = TypeVar("R")
M_contra = TypeVar("M_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class KeyedOperator(Protocol[M_contra, R_co]):
    """A fold with state: what a keyed step does for one key."""

    def process_batch(self, messages: Sequence[M_contra]) -> Iterable[R_co]:
        """Take in the messages that came at once, give what came of them."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes, at the end of an epoch."""

    def on_epoch_end(self) -> None:
        """An epoch ends, and nothing stores the state."""

    @property
    def row_count(self) -> int:
        """How many rows of state are in memory."""


class _OperatorLogic(StatefulBatchLogic[M, R, bytes], Generic[M, R]):
    def __init__(
        self, step_id: str, operator: KeyedOperator[M, R], journals: Journals | None
    ) -> None:
        self._operator = operator
        self._stored = journals is not None
        self._snapshot_s = metrics.SNAPSHOT.labels(step_id)
        metrics.STATE_ROWS.watch(step_id, operator)

    def on_batch(self, values: list[M]) -> tuple[Iterable[R], bool]:
        liveness.mark_progress()
        return self._operator.process_batch(values), self.RETAIN

    def snapshot(self) -> bytes:
        # Bytewax asks at every epoch, also where nothing stores the answer.
        if not self._stored:
            self._operator.on_epoch_end()
            return b""
        began_s = time.perf_counter()
        snapshot = self._operator.snapshot()
        self._snapshot_s.inc(time.perf_counter() - began_s)
        return snapshot


def stateful_step(
    step_id: str,
    up: KeyedStream[M],
    build_operator: Callable[[bytes | None], KeyedOperator[M, R]],
    journals: Journals | None,
) -> KeyedStream[R]:
    """Fold each key's messages; `build_operator` gives a key's stage from its snapshot, or a new one.

    Without `journals` nothing is stored.
    """
    return op.stateful_batch(
        step_id, up, lambda blob: _OperatorLogic(step_id, build_operator(blob), journals)
    )
