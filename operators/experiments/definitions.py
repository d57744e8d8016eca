"""What an experiments file says, as data. `parser` makes it, and has checked it.

What may be changed: more fields with a default. The metric names are part of the file format.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

METRICS: Final = {
    "conversion": "share of units that ordered",
    "revenue": "revenue of a unit, after refunds",
    "clicks": "recommendations that a unit clicked in the slot",
}
"""What is measured of each unit inside its window, by name."""

UNITS: Final = ("visitor", "user")


class Decision(msgspec.Struct, frozen=True):
    """How an experiment is decided.

    `least_effect`: the smallest relative difference that matters. `tuned_to`: the number of units,
    of both variants together, at which the sequence is narrowest. `cut_micros`: revenue of a unit
    counts up to this amount; 0: no limit. `before_ms`: how far the covariate reaches back before
    the first exposure; 0: none.
    """

    metric: str
    window_ms: int
    least_effect: float
    alpha: float = 0.05
    tuned_to: int = 5_000
    cut_micros: int = 0
    before_ms: int = 0


class Experiment(msgspec.Struct, frozen=True):
    """One experiment. `shares` are in buckets of .01 %, by variant; the first variant is the
    control.

    `end_ms` 0: it has no end yet.
    """

    name: str
    question: str
    unit: str
    slot: str
    shares: dict[str, int]
    decide: Decision
    guard: tuple[str, ...]
    start_ms: int
    end_ms: int = 0

    @property
    def seed(self) -> str:
        """The seed of the hash: a new start draws anew."""
        return f"{self.name}:{day_text(self.start_ms)}"

    @property
    def control(self) -> str:
        """The variant that the others are compared with."""
        return next(iter(self.shares))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric that decides, then the guard metrics."""
        return (self.decide.metric, *self.guard)

    def runs_at(self, at_ms: int) -> bool:
        """Whether exposures at this time count."""
        return self.start_ms <= at_ms and (not self.end_ms or at_ms < self.end_ms)


class Experiments(msgspec.Struct, frozen=True):
    """A whole file: its experiments, and the share of units (buckets of .01 %) that is in none of
    them.
    """

    experiments: tuple[Experiment, ...] = ()
    holdout_buckets: int = 0


def day_text(at_ms: int) -> str:
    """The day of a time, as in `2026-12-01`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
