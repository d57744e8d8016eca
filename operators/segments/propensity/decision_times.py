"""Decision times, and observations of shoppers that event time has not passed yet.

A batch shows shoppers as they are at its end. A decision within the batch may only see what came
before it, so observations are stored event by event here, and applied in the order of event time.
So results do not depend on how events are cut into batches. The names of the arrays are stored; the
rule of decision times may change with `VERSION`.
"""

from __future__ import annotations

import zlib
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.segments.propensity.features import (
    SHOPPER_FEATURES,
    TIMES,
    count_columns,
    shopper_matrix,
)
from operators.shoppers.features import LAST_MS_COLUMN, feature_rows
from operators.tables.table import TableState
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state import config
    from state.messages import ShopperObservation

    Keys = NDArray[np.uint64]
    Point = NDArray[np.float32]

TICK_MS = 6 * HOUR_MS
"""Decisions are taken at multiples of this in event time: outcomes of weeks need no finer times."""

SEEN, MERGED, BOUGHT = range(3)
"""What was observed: activity after a decision time, a merge into a user, an order. At one time in
this order: the event that identifies a shopper comes before the user's order."""


class Observation(NamedTuple):
    """One observation: when it arrived (ms), its kind, its time (ms), the shopper's key, and the
    order value (millionths) or the key of the user."""

    observed_ms: int
    kind: int
    at_ms: int
    key: int
    value: int


def key_of(name: str) -> int:
    """Return the key of a shopper: a hash of 63 bits, never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1 or 1


def ticks_between(settings: config.Propensity) -> int:
    """Return the ticks between two decisions of a shopper, so that one decision at a time is
    pending; 0 where the models are off."""
    if not settings.horizon_days:
        return 0
    return max(settings.horizon_days, settings.churn_days) * DAY_MS // TICK_MS


def first_tick_ms(name: str, from_ms: int, period: int) -> int:
    """Return a shopper's first decision time at or after a time. Each shopper has its own phase in
    the period.

    >>> [first_tick_ms("ann", at, 4) // TICK_MS for at in (0, 1, 2 * TICK_MS, 3 * TICK_MS + 1)]
    [3, 3, 3, 7]
    """
    tick = -(-from_ms // TICK_MS)
    return (tick + (zlib.crc32(name.encode()) - tick) % period) * TICK_MS


class PendingObservations(TableState):
    """Observations and decision points that event time has not reached.

    A point of nan: the shopper did not exist at that time.
    """

    def __init__(self, period: int) -> None:
        self.period = period
        self._observations: list[Observation] = []
        # By decision time and shopper.
        self._points: dict[int, dict[int, Point]] = {}

    def observe(self, observations: Iterable[ShopperObservation], reached_ms: int) -> None:
        """Store the observations of a batch; decisions before `reached_ms` have been taken."""
        for observed in observations:
            key = key_of(observed.shopper)
            if observed.features_before:
                self._observations.append(
                    Observation(observed.known_ms, SEEN, observed.at_ms, key, 0)
                )
            if observed.merged_into:
                self._observations.append(
                    Observation(
                        observed.known_ms, MERGED, observed.at_ms, key, key_of(observed.merged_into)
                    )
                )
            if observed.value_micros is not None:
                self._observations.append(
                    Observation(
                        observed.known_ms, BOUGHT, observed.at_ms, key, observed.value_micros
                    )
                )
            if observed.features_until_ms > reached_ms:
                self._store_points(observed, key, reached_ms)

    def _store_points(self, observed: ShopperObservation, key: int, reached_ms: int) -> None:
        raw = feature_rows([observed.features_before]) if observed.features_before else None
        since_ms = observed.at_ms if raw is None else int(raw[0, LAST_MS_COLUMN])
        tick_ms = first_tick_ms(observed.shopper, max(since_ms, reached_ms), self.period)
        while tick_ms < observed.features_until_ms:
            point = np.full(len(SHOPPER_FEATURES), np.nan, np.float32)
            if raw is not None:
                times = raw[:, TIMES].astype(np.int64)
                point[:] = shopper_matrix(count_columns(raw), times, np.array([float(tick_ms)]))[0]
            # The first point stored is the right one: it was observed first.
            self._points.setdefault(tick_ms, {}).setdefault(key, point)
            tick_ms += self.period * TICK_MS

    @property
    def decision_times_ms(self) -> Iterable[int]:
        """The decision times that have points."""
        return self._points.keys()

    def take_observations(self, until_ms: int) -> list[Observation]:
        """Return the observations that arrived by a time, in order, and drop them."""
        taken = sorted(one for one in self._observations if one.observed_ms <= until_ms)
        if taken:
            self._observations = [one for one in self._observations if one.observed_ms > until_ms]
        return taken

    def take_points(self, tick_ms: int) -> dict[int, Point]:
        """Return the points of a decision time, and drop them."""
        return self._points.pop(tick_ms, {})

    def erase(self, key: int) -> None:
        """Delete what is stored of an erased shopper."""
        self._observations = [one for one in self._observations if key not in (one.key, one.value)]
        for points in self._points.values():
            points.pop(key, None)

    def scalars(self) -> Arrays:
        """The whole state: little more than the observations of one batch."""
        observations = sorted(self._observations)
        points = [
            (at_ms, key, point)
            for at_ms, of_key in sorted(self._points.items())
            for key, point in sorted(of_key.items(), key=itemgetter(0))
        ]
        return {
            # Stored names: "told" are the observations.
            "told": np.array(observations, np.int64).reshape(-1, len(Observation._fields)),
            "ticks": np.array([at for at, _, _ in points], np.int64),
            "keys": np.array([key for _, key, _ in points], np.uint64),
            "points": np.array([p for _, _, p in points], np.float32).reshape(
                -1, len(SHOPPER_FEATURES)
            ),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned."""
        self._observations = [Observation(*one) for one in arrays["told"].tolist()]
        self._points = {}
        for at_ms, key, point in zip(
            arrays["ticks"].tolist(), arrays["keys"].tolist(), arrays["points"], strict=True
        ):
            self._points.setdefault(at_ms, {})[key] = point.copy()
