"""The last long absence of a shopper: the times of the event before it and of the event after it.

The result does not depend on the order of events, nor on which shopper is merged into which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.shopper import Shopper

Gap = tuple[int, int]
"""The last event before a gap and the first event after it (ms); (0, 0) for none."""

_INFINITY_MS = 1 << 62


def observe(shopper: Shopper, at_ms: int, min_gap_ms: int) -> None:
    """Update the absence with an event: it may end a gap, or fall into one. Call it before it counts."""
    if (
        at_ms - shopper.last_ms >= min_gap_ms
        or at_ms < shopper.returned_ms
        or at_ms < shopper.first_ms
    ):
        shopper.absence_start_ms, shopper.returned_ms = _latest_gap(
            _gaps(shopper), [(-_INFINITY_MS, at_ms), (at_ms, _INFINITY_MS)], min_gap_ms
        )


def merge(shopper: Shopper, other: Shopper, min_gap_ms: int) -> None:
    """Set the last time that both shoppers were away. Call it before their profiles are merged."""
    shopper.absence_start_ms, shopper.returned_ms = _latest_gap(
        _gaps(shopper), _gaps(other), min_gap_ms
    )


def _gaps(shopper: Shopper) -> list[Gap]:
    """The gaps of a shopper: before its first event, its last long absence, after its last event."""
    gaps = [(-_INFINITY_MS, shopper.first_ms), (shopper.last_ms, _INFINITY_MS)]
    if shopper.returned_ms:
        gaps.append((shopper.absence_start_ms, shopper.returned_ms))
    return gaps


def _latest_gap(gaps: list[Gap], other_gaps: list[Gap], min_gap_ms: int) -> Gap:
    return max(
        _intersections(gaps, other_gaps, min_gap_ms), default=(0, 0), key=lambda span: span[1]
    )


def _intersections(gaps: list[Gap], other_gaps: list[Gap], min_gap_ms: int) -> Iterator[Gap]:
    for begin, end in gaps:
        for other_begin, other_end in other_gaps:
            begin_ms, end_ms = max(begin, other_begin), min(end, other_end)
            if (
                begin_ms > -_INFINITY_MS
                and end_ms < _INFINITY_MS
                and end_ms - begin_ms >= min_gap_ms
            ):
                yield begin_ms, end_ms
