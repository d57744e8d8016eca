"""The sums of a metric over units, and what follows from them.

Whole numbers, so the sums of parts add up to the sum of the whole in any order. `y` is the metric
of a unit, `x` its covariate from before the experiment; both in millionths.
"""

from __future__ import annotations

from typing import Final

import msgspec

from state.money import MICROS_PER_UNIT

_SQUARE: Final = MICROS_PER_UNIT * MICROS_PER_UNIT


class Sums(msgspec.Struct):
    """Number of units, and sums of values, squares and products (millionths; squares: of a
    millionth).
    """

    n: int = 0
    y: int = 0
    y2: int = 0
    x: int = 0
    x2: int = 0
    xy: int = 0

    def add(self, y: int, x: int = 0) -> None:
        """Count one unit."""
        self.n += 1
        self.y += y
        self.y2 += y * y
        self.x += x
        self.x2 += x * x
        self.xy += x * y

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.n + other.n,
            self.y + other.y,
            self.y2 + other.y2,
            self.x + other.x,
            self.x2 + other.x2,
            self.xy + other.xy,
        )

    @property
    def mean(self) -> float:
        """The mean of `y`; 0 without units."""
        return self.y / self.n / MICROS_PER_UNIT if self.n else 0.0

    @property
    def mean_x(self) -> float:
        """The mean of `x`; 0 without units."""
        return self.x / self.n / MICROS_PER_UNIT if self.n else 0.0

    @property
    def centred_y2(self) -> float:
        """The sum of squared deviations of `y` from its mean."""
        return _centred(self.n, self.y2, self.y, self.y)

    @property
    def centred_x2(self) -> float:
        """The same of `x`."""
        return _centred(self.n, self.x2, self.x, self.x)

    @property
    def centred_xy(self) -> float:
        """The sum of products of both deviations."""
        return _centred(self.n, self.xy, self.x, self.y)

    @property
    def variance(self) -> float:
        """The sample variance of `y`; 0 for fewer than two units."""
        return self.centred_y2 / (self.n - 1) if self.n > 1 else 0.0


class Arm(msgspec.Struct, frozen=True):
    """What a test takes of a variant: number of units, mean, and sample variance of a unit."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, sums: Sums) -> Arm:
        """The variant as it was measured."""
        return cls(sums.n, sums.mean, sums.variance)


def adjust(variants: list[Sums]) -> tuple[list[Arm], float]:
    """The variants adjusted by their covariate (CUPED), and the share of the variance that this
    took away.

    The slope is that of all variants pooled, each around its own means, as least squares with one
    intercept a variant finds it.
    """
    x2 = sum(one.centred_x2 for one in variants)
    y2 = sum(one.centred_y2 for one in variants)
    slope = sum(one.centred_xy for one in variants) / x2 if x2 else 0.0
    units = sum(one.n for one in variants)
    mean_x = sum(one.x for one in variants) / units / MICROS_PER_UNIT if units else 0.0
    arms, rest = [], 0.0
    for one in variants:
        # Rounding may leave a tiny negative sum where x explains all of y.
        squares = max(0.0, one.centred_y2 - 2 * slope * one.centred_xy + slope**2 * one.centred_x2)
        rest += squares
        variance = squares / (one.n - 1) if one.n > 1 else 0.0
        arms.append(Arm(one.n, one.mean - slope * (one.mean_x - mean_x), variance))
    return arms, 1 - rest / y2 if y2 else 0.0


def _centred(n: int, products: int, first: int, second: int) -> float:
    """A sum of products of deviations. The subtraction is exact, in whole numbers."""
    return (n * products - first * second) / n / _SQUARE if n else 0.0
