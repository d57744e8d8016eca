"""What `operators.kernels.item_scans` computes, in plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence, Set


def heaviest(score: Sequence[float], places: int) -> list[int]:
    """The items with the highest scores above 0, best first, of equals the lower row first."""
    rows = [row for row, value in enumerate(score) if value > 0]
    return sorted(rows, key=lambda row: (-score[row], row))[:places]


def members_of(group: Sequence[Sequence[int]], wanted: Set[int]) -> list[int]:
    """The items that are in any wanted group."""
    return [row for row, groups in enumerate(group) if wanted & {one for one in groups if one >= 0}]
