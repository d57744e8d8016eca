"""The only bridge from a plain operator to Bytewax keyed state.

A `KeyedOperator` processes messages in place and gives snapshots of its state. Step ids are stored
names (`flows/steps.py`): a step with a new id starts with empty state, without a warning.
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
    """The work of a keyed step for one key, with its state."""

    def process_batch(self, messages: Sequence[M_contra]) -> Iterable[R_co]:
        """Process messages that arrived together and return the results."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes, at the end of an epoch."""

    def on_epoch_end(self) -> None:
        """Called at the end of an epoch in a flow that stores no state."""

    @property
    def row_count(self) -> int:
        """The number of rows of state in memory."""


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
        # Bytewax asks at every epoch, also when no recovery store keeps the result.
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
    """Add a step that runs one operator per key; `build_operator` makes it from a snapshot or anew.

    Without `journals` no state is stored.
    """
    return op.stateful_batch(
        step_id, up, lambda blob: _OperatorLogic(step_id, build_operator(blob), journals)
    )


class _PassLogic(StatefulBatchLogic[M, M, None]):
    """Passes on what comes. It keeps nothing, so nothing of it is stored."""

    def on_batch(self, values: list[M]) -> tuple[Iterable[M], bool]:
        return values, self.DISCARD

    def snapshot(self) -> None:
        return None


def single_order(step_id: str, up: KeyedStream[M]) -> KeyedStream[M]:
    """Send a stream with one key through one worker: all that come after see it in one order."""
    return op.stateful_batch(step_id, up, lambda _: _PassLogic())
