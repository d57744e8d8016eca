"""What `operators.kernels.distinct_rows` computes, in plain Python."""

from __future__ import annotations


def distinct_rows(rows: list[int]) -> list[int]:
    """Each row once, in the order of the first mention."""
    return list(dict.fromkeys(rows))
