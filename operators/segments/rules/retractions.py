"""Transitions that a batch takes back: those of shoppers who end in it by a merge or an erasure."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from state.entries import Transition


class RuleRetractions:
    """Notes where in a batch a shopper ended; its transitions up to there are taken out in one pass."""

    def __init__(self) -> None:
        self._ends: dict[str, list[tuple[int, list[Transition]]]] = {}

    def retract(self, shopper_id: str, position: int) -> list[Transition]:
        """Take back what a shopper did before this position of the batch.

        The list is empty at first: `split_off` fills it.
        """
        retracted: list[Transition] = []
        self._ends.setdefault(shopper_id, []).append((position, retracted))
        return retracted

    def split_off(self, transitions: list[Transition]) -> None:
        """Move the transitions that are taken back out of the batch, each into the list of its
        shopper."""
        if not self._ends:
            return
        remaining: list[Transition] = []
        for position, transition in enumerate(transitions):
            ends = self._ends.get(transition.shopper, ())
            first = bisect_right(ends, position, key=itemgetter(0))
            (ends[first][1] if first < len(ends) else remaining).append(transition)
        transitions[:] = remaining
        self._ends.clear()
