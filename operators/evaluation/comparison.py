"""Compares two lists on the same cases: is one better, or was it chance?

Cases of one shopper are not independent, so shoppers are resampled, with all their cases (paired
cluster bootstrap; Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8; Sakai,
"Evaluating evaluation metrics based on the bootstrap", SIGIR 2006). Beside it McNemar's exact test of
the cases that only one of both hit (McNemar 1947), which takes cases as independent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from scipy.stats import binomtest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.evaluation.results import EvaluationResult

DRAWS = 2000
DRAWS_AT_ONCE = 50
CONFIDENCE = 0.95
SEED = 7


class Difference(msgspec.Struct, frozen=True):
    """The difference of two means over cases, with its 95 % interval over resampled shoppers.

    `p` is the probability of such a difference between equal lists, by the resamples; at least 1 /
    resamples.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def is_gain(self) -> bool:
        """Whether the interval is above 0."""
        return self.low > 0


class Comparison(msgspec.Struct, frozen=True):
    """One list compared with another: differences of HR@k and MRR@k, cases that only one of them hit.

    `mcnemar_p` is the two-sided exact p of these cases.
    """

    n: int
    owners: int
    hr: Difference
    mrr: Difference
    only_ours: int
    only_theirs: int
    mcnemar_p: float


def compare(result: EvaluationResult, ours: str, theirs: str) -> Comparison:
    """Compare `ours` with `theirs`, two learners that were scored on the same cases."""
    hits = result.hits(ours) - result.hits(theirs)
    gains = result.reciprocal(ours) - result.reciprocal(theirs)
    owner = np.unique(np.asarray(result.owner), return_inverse=True)[1]
    only_ours, only_theirs = int((hits > 0).sum()), int((hits < 0).sum())
    differing = only_ours + only_theirs
    hr, mrr = differences(np.stack([hits, gains]), owner)
    return Comparison(
        n=len(hits),
        owners=int(owner.max(initial=-1)) + 1,
        hr=hr,
        mrr=mrr,
        only_ours=only_ours,
        only_theirs=only_theirs,
        mcnemar_p=float(binomtest(only_ours, differing).pvalue) if differing else 1.0,
    )


def differences(values: NDArray[np.float64], owner: NDArray[np.intp]) -> list[Difference]:
    """The mean of each row of values [m, cases] with its interval, over resampled owners (0 and up)."""
    sums, n = bootstrap(values, owner)
    result = []
    for mean, means in zip(values.mean(axis=1).tolist(), sums / n, strict=True):
        low, high = confidence_interval(means)
        # The spread of the resamples around their mean is that of no difference around 0.
        p = float((np.abs(means - mean) >= abs(mean)).mean())
        result.append(Difference(mean, low, high, max(p, 1 / DRAWS) if mean else 1.0))
    return result


def bootstrap(
    values: NDArray[np.float64], owner: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum of each row of values [m, cases] in each resample [m, resamples], and its number of
    cases."""
    owners = int(owner.max(initial=-1)) + 1
    cases = np.bincount(owner, minlength=owners).astype(np.float64)
    sums = np.stack([cases, *(np.bincount(owner, row, minlength=owners) for row in values)])
    rng = np.random.default_rng(SEED)
    drawn = np.empty((len(sums), DRAWS))
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        sampled_owners = rng.integers(0, owners, (DRAWS_AT_ONCE, owners), dtype=np.int32)
        counts = np.stack([np.bincount(one, minlength=owners) for one in sampled_owners])
        drawn[:, start : start + DRAWS_AT_ONCE] = sums @ counts.T
    return drawn[1:], drawn[0]


def confidence_interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The interval that holds 95 % of the resampled values."""
    tail_percent = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(draws, [tail_percent, 100 - tail_percent]).tolist()
    return low, high
