"""Waits until a batch is whole, and gives whole batches in their order.

The messages of one batch come from several senders (shards, trainers), in any order between them; each
sender's own come in the order of batches. A batch is whole when `parts_expected` of it are there.

The contract of a sender: it sends every batch, also one of which it has nothing to say. A sender that
leaves out a batch stops everything after it, and Bytewax says nothing of it. So `check_empty` belongs
into `snapshot()` of every step with a barrier: at the end of an epoch nothing may wait, and what waits
would be lost by a resume.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Part(Protocol):
    """A message of a batch. `sequence` is the number of the batch among all of this run (each device
    shard counts them, in the order of the step `order`), `parts` of how many parts it speaks."""

    @property
    def sequence(self) -> int:
        """The number of the batch among all."""

    @property
    def parts(self) -> int:
        """How many parts the message brings."""


P = TypeVar("P", bound=Part)


class BarrierError(RuntimeError):
    """A batch is not whole where it must be, or came twice: a step does not keep the contract."""


class Barrier(Generic[P]):
    """The messages of batches that are not whole yet. Not stored: nothing waits in a snapshot."""

    def __init__(self, step_id: str, parts_expected: int) -> None:
        self._step_id = step_id
        self._parts_expected = parts_expected
        self._waiting: dict[int, list[P]] = {}
        self._counts: dict[int, int] = {}

    def add(self, message: P) -> list[list[P]]:
        """Take in a message; the batches that are whole now, each as its messages as they came."""
        sequence = message.sequence
        self._waiting.setdefault(sequence, []).append(message)
        count = self._counts[sequence] = self._counts.get(sequence, 0) + message.parts
        if count > self._parts_expected:
            raise BarrierError(
                f"{self._step_id}: batch {sequence} has {count} parts, {self._parts_expected} are whole"
            )
        whole: list[list[P]] = []
        # Each sender keeps the order of batches: one is never whole before those that came earlier.
        while self._waiting and self._counts[first := min(self._waiting)] == self._parts_expected:
            del self._counts[first]
            whole.append(self._waiting.pop(first))
        return whole

    def check_empty(self) -> None:
        """Raise where a batch waits: called at the end of an epoch, when all of a batch has come."""
        if self._waiting:
            first = min(self._waiting)
            raise BarrierError(
                f"{self._step_id}: {len(self._waiting)} batches wait at the end of an epoch; batch "
                f"{first} has {self._counts[first]} of {self._parts_expected} parts: a step that "
                "sends to this one left it out"
            )
