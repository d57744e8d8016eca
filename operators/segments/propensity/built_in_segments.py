"""Built-in segments by the predictions' rank among all shoppers.

Names and shares are those of the predictive audiences that customer data platforms offer (Twilio
Segment, "Suggested Predictive Audiences"): Ready to buy, the top 20 % by chance of a purchase; Long
shots, with an earlier purchase, between the 25th and the 65th percentile; High value, the top 10 %
by expected value; Potential VIPs, active within two weeks, with a high value and a high chance;
Dormant, inactive for 60 days, with a low chance. "High" is the top 20 % here, "low" the bottom 25
%. Change freely: names and descriptions. Never: the ids and the bits, which are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state.segments import SegmentDefinition
from state.times import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Times

    Floats = NDArray[np.float64]
    Members = NDArray[np.uint8]

MARGIN = 0.02
"""Hysteresis: a member stays until its rank is so far (a share of all) beyond the threshold. A
score that moves around a threshold does not move its shopper in and out."""
VIP_DAYS = 14
_CHANCE_RANKS = (0.25, 0.65, 0.80)
_VALUE_RANKS = (0.80, 0.90)
READY, LONG_SHOT, HIGH_VALUE, VIP, DORMANT = 1, 2, 4, 8, 16
IDS = {
    READY: "propensity-ready-to-buy",
    LONG_SHOT: "propensity-long-shots",
    HIGH_VALUE: "propensity-high-value",
    VIP: "propensity-potential-vips",
    DORMANT: "propensity-dormant",
}


def definitions(dormant_days: int, status: str) -> list[SegmentDefinition]:
    """Return the definitions of the five segments."""
    texts = {
        READY: ("Ready to buy", "Most likely to buy.", "chance of a purchase in the top 20 %"),
        LONG_SHOT: (
            "Long shots",
            "Bought before, and may or may not buy again.",
            "bought before, chance of a purchase between the 25th and the 65th percentile",
        ),
        HIGH_VALUE: (
            "High value",
            "Expected to spend the most.",
            "expected value in the top 10 %",
        ),
        VIP: (
            "Potential VIPs",
            "Here lately, expected to buy, and for much.",
            f"seen within {VIP_DAYS} d, expected value and chance of a purchase in the top 20 %",
        ),
        DORMANT: (
            "Dormant",
            "Away for long, and unlikely to buy.",
            f"not seen for {dormant_days} d, chance of a purchase in the bottom 25 %",
        ),
    }
    return [
        SegmentDefinition(IDS[bit], "propensity", name, description, rule, status=status)
        for bit, (name, description, rule) in texts.items()
    ]


class Thresholds(NamedTuple):
    """Scores at the ranks: a margin below the threshold, the threshold, a margin above."""

    chance: Floats
    value: Floats


def compute_thresholds(chance: Floats, value: Floats) -> Thresholds:
    """Compute the thresholds from all scores [n], n > 0: float64[ranks, 3] each, below, at,
    above."""

    def at(scores: Floats, ranks: tuple[float, ...]) -> Floats:
        quantiles = np.add.outer(np.array(ranks), np.array([-MARGIN, 0.0, MARGIN]))
        values: Floats = np.quantile(scores, quantiles)
        return values

    return Thresholds(at(chance, _CHANCE_RANKS), at(value, _VALUE_RANKS))


class ScoredRows(NamedTuple):
    """What decides the segments of n shoppers: chance of a purchase, expected value, time since the
    last activity, whether there is a purchase, and the current segments as bits."""

    chance: Floats
    value: Floats
    unseen_ms: Times
    has_bought: NDArray[np.bool_]
    segment_bits: Members


def assign(thresholds: Thresholds, scored: ScoredRows, dormant_ms: int) -> Members:
    """Return the segments of each shopper, as bits uint8[n]."""
    (low, middle, high), (valued, most_valued) = thresholds.chance, thresholds.value

    def is_in(bit: int) -> NDArray[np.intp]:
        """Return 1 for members, 0 for others: the column of their own threshold, counted from
        above."""
        return ((scored.segment_bits & bit) > 0).astype(np.intp)

    assigned = np.zeros(len(scored.chance), np.uint8)
    assigned |= READY * (scored.chance > high[1 - is_in(READY)]).astype(np.uint8)
    inside = is_in(LONG_SHOT)
    possible = (scored.chance > low[1 - inside]) & (scored.chance <= middle[1 + inside])
    assigned |= LONG_SHOT * (scored.has_bought & possible).astype(np.uint8)
    assigned |= HIGH_VALUE * (scored.value > most_valued[1 - is_in(HIGH_VALUE)]).astype(np.uint8)
    inside = 1 - is_in(VIP)
    best = (scored.value > valued[inside]) & (scored.chance > high[inside])
    assigned |= VIP * (best & (scored.unseen_ms <= VIP_DAYS * DAY_MS)).astype(np.uint8)
    unlikely = scored.chance <= low[1 + is_in(DORMANT)]
    assigned |= DORMANT * (unlikely & (scored.unseen_ms >= dormant_ms)).astype(np.uint8)
    return assigned
