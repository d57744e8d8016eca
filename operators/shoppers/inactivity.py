"""The last time a shopper was away for long: two times in the shopper's row, whatever order events
come in and whoever is merged into whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.shopper import Shopper

Absence = tuple[int, int]
"""The last event before and the first after (ms); (0, 0) for none."""

_EVER = 1 << 62


def hear(shopper: Shopper, at_ms: int, long_ms: int) -> None:
    """Take in an event, before it is counted: whether it ends a long absence, or falls into one."""
    if (
        at_ms - shopper.last_ms >= long_ms
        or at_ms < shopper.returned_ms
        or at_ms < shopper.first_ms
    ):
        shopper.away_ms, shopper.returned_ms = _last(
            _spans(shopper), [(-_EVER, at_ms), (at_ms, _EVER)], long_ms
        )


def merge(shopper: Shopper, other: Shopper, long_ms: int) -> None:
    """What both were away together, before the one is counted into the other."""
    shopper.away_ms, shopper.returned_ms = _last(_spans(shopper), _spans(other), long_ms)


def _spans(shopper: Shopper) -> list[Absence]:
    """When nothing was heard of a shopper for long: before the first event, once, after the last."""
    spans = [(-_EVER, shopper.first_ms), (shopper.last_ms, _EVER)]
    if shopper.returned_ms:
        spans.append((shopper.away_ms, shopper.returned_ms))
    return spans


def _last(one: list[Absence], other: list[Absence], long_ms: int) -> Absence:
    return max(_common(one, other, long_ms), default=(0, 0), key=lambda span: span[1])


def _common(one: list[Absence], other: list[Absence], long_ms: int) -> Iterator[Absence]:
    for begin, end in one:
        for also_begin, also_end in other:
            away_ms, returned_ms = max(begin, also_begin), min(end, also_end)
            if away_ms > -_EVER and returned_ms < _EVER and returned_ms - away_ms >= long_ms:
                yield away_ms, returned_ms
