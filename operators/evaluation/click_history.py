"""How known items were when a list was made: by their clicks so far and the time of the first one."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Collection


class ItemClickHistory:
    """The number of clicks and the first click (ms) of each item so far.

    >>> history = ItemClickHistory()
    >>> for item in [0, 0, 0, 1]:
    ...     history.count(item, at_ms=5)
    >>> history.bits([1]), round(history.bits([0, 1]), 3)
    (2.0, 2.415)
    >>> history.age_ms(1, now_ms=7), history.age_ms(2, now_ms=7)
    (2, None)
    """

    __slots__ = ("_counts", "_first_ms", "_log2_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._log2_counts: dict[int, float] = {}
        self._first_ms: dict[int, int] = {}
        self._total = 0

    def count(self, item: int, at_ms: int) -> None:
        """Count one click of an item."""
        self._total += 1
        self._counts[item] = clicks = self._counts.get(item, 0) + 1
        self._log2_counts[item] = log2(clicks)
        if clicks == 1:
            self._first_ms[item] = at_ms

    def bits(self, listed: Collection[int]) -> float:
        """The sum of the self-information of items. An item without clicks counts as having one."""
        if not listed or not self._total:
            return 0.0
        known = self._log2_counts
        return len(listed) * log2(self._total) - sum(known.get(item, 0.0) for item in listed)

    def age_ms(self, item: int, now_ms: int) -> int | None:
        """The time since the first click of an item; None without a click."""
        first_ms = self._first_ms.get(item)
        return None if first_ms is None else now_ms - first_ms

    def count_fresh(self, listed: Collection[int], now_ms: int) -> int:
        """The number of items that were clicked for the first time less than a day ago."""
        since_ms, first_ms = now_ms - DAY_MS, self._first_ms
        return sum(first_ms.get(item, now_ms) > since_ms for item in listed)
