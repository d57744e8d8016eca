"""Whether units fell into the variants by the shares of the file: a sequential test, valid at every
look.

The Dirichlet mixture of Lindon and Malek (arXiv 2011.03567): the odds of "other shares" against
"these shares". They exceed 1 / alpha at any time with a probability of alpha at most, if the shares
are right.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Final

from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

ALARM_BELOW: Final = 0.001
CONCENTRATION: Final = 100.0
"""How close to the right shares wrong ones are expected; 100 finds a lost tenth of a variant early.
"""


def sample_ratio_p(
    counts: Sequence[int], shares: Sequence[float], concentration: float = CONCENTRATION
) -> float:
    """The p-value, valid at all times, that units fell by these shares."""
    total = sum(counts)
    log_odds = float(special.gammaln(concentration) - special.gammaln(concentration + total))
    for count, share in zip(counts, shares, strict=True):
        weight = concentration * share
        log_odds += float(special.gammaln(weight + count) - special.gammaln(weight))
        log_odds -= count * log(share)
    return exp(-max(0.0, log_odds))
