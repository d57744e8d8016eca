"""Counterfactual evaluation: estimates the reward of lists that were not shown, from those that were.

A policy under evaluation has an item at a position. If that item was shown there, its reward is known,
and its weight is 1 / propensity: the more, the less likely it was to be shown.

ips    inverse propensity scoring: the mean of weight * reward. Right on average, wide.
snips  self-normalised (Swaminathan and Joachims, NIPS 2015): divided by the mean weight. Narrower
       where much is clicked, a little off in small logs.
dr     doubly robust (Dudik, Langford and Li, ICML 2011): a model of the reward, corrected by what was
       seen. The model is the mean reward so far of items by their rank in the policy's own list.

All need that the policy's items could have been shown: then the mean weight, `support`, is about 1.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.evaluation.comparison import bootstrap, confidence_interval
from operators.evaluation.competitors import Request, recommend_all
from operators.evaluation.metrics import rank_of
from operators.evaluation.sessions import SessionTracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.evaluation.clicks import ClickStream
    from operators.evaluation.competitors import Competitor, ProtocolOptions
    from operators.evaluation.impressions import Impression
    from operators.evaluation.results import Lists

PRIOR_ROWS = 20.0
"""Each rank of the reward model begins with so many rows of the mean reward."""


class Estimate(msgspec.Struct, frozen=True):
    """A mean reward with its 95 % interval over resampled shoppers."""

    mean: float
    low: float
    high: float


class Counterfactual(msgspec.Struct, frozen=True):
    """The estimates of one policy, over n rows of which it `matched` some.

    `effective` is the number of rows of equal weight that would be as exact (Kish 1965). `gain` is `dr`
    minus the mean reward of what was shown.
    """

    matched: int
    effective: float
    support: Estimate
    ips: Estimate
    snips: Estimate
    dr: Estimate
    gain: Estimate


class RewardModel:
    """The mean reward so far of items by their rank in a list; rank 0 is for items not in it."""

    def __init__(self) -> None:
        self._sums: defaultdict[int, float] = defaultdict(float)
        self._rows: defaultdict[int, float] = defaultdict(float)
        self._sum = 0.0
        self._all = 0.0

    def mean(self, rank: int) -> float:
        """The expected reward of an item of this rank."""
        prior = self._sum / self._all if self._all else 0.0
        return (self._sums[rank] + PRIOR_ROWS * prior) / (self._rows[rank] + PRIOR_ROWS)

    def learn(self, rank: int, reward: int) -> None:
        """Learn the reward of an item of this rank that was shown."""
        self._sums[rank] += reward
        self._rows[rank] += 1
        self._sum += reward
        self._all += 1


class PolicyLog:
    """The rows of the log with one policy's weights and expected rewards."""

    def __init__(self) -> None:
        self._model = RewardModel()
        self.weight = array("d")
        self.expected = array("d")
        self.expected_of_shown = array("d")

    def add(self, impression: Impression, item: int, listed: Sequence[int]) -> None:
        """Add a row; `item` is the row of the shown item in the stream."""
        listed_item = (
            listed[impression.position - 1] if impression.position <= len(listed) else None
        )
        rank = rank_of(item, listed)
        self.weight.append(1 / impression.propensity if listed_item == item else 0.0)
        self.expected.append(
            self._model.mean(impression.position) if listed_item is not None else 0.0
        )
        self.expected_of_shown.append(self._model.mean(rank))
        self._model.learn(rank, impression.reward)


def counterfactual(
    clicks: ClickStream,
    impressions: Sequence[Impression],
    competitors: Sequence[Competitor],
    options: ProtocolOptions,
) -> dict[str, Counterfactual]:
    """Learn the stream, and at each impression ask every policy for its list of that time."""
    policies: defaultdict[str, PolicyLog] = defaultdict(PolicyLog)
    sessions = SessionTracker(options.session_gap_ms)
    remaining = iter(clicks)
    click = next(remaining, None)
    for impression in impressions:
        while click is not None and click.at_ms <= impression.at_ms:
            session = sessions.current_session(click)
            for competitor in competitors:
                competitor.learn(click, session)
            if click.kind == clicks.scored_kind:
                session.items.append(click.item)
            click = next(remaining, None)
        shopper, item = clicks.shoppers.get(impression.shopper), clicks.items.get(impression.item)
        session_items = sessions.items_of(shopper)
        request = Request(shopper, session_items, impression.at_ms, frozenset())
        listed: Lists = recommend_all(competitors, [request], options.k)[0]
        for name, items in listed.items():
            policies[name].add(impression, item, items)
    reward = np.array([row.reward for row in impressions], np.float64)
    _, owner = np.unique([row.shopper for row in impressions], return_inverse=True)
    return {name: estimate(logged, reward, owner) for name, logged in policies.items()}


def estimate(
    policy_log: PolicyLog, reward: NDArray[np.float64], owner: NDArray[np.intp]
) -> Counterfactual:
    """The estimates of a policy, with intervals over resampled shoppers."""
    weight = np.asarray(policy_log.weight)
    robust = np.asarray(policy_log.expected) + weight * (
        reward - np.asarray(policy_log.expected_of_shown)
    )
    columns = np.stack([weight, weight * reward, robust, reward])
    sums = columns.sum(axis=1)
    drawn, n = bootstrap(columns, owner)
    total = float(weight.sum())
    draws = drawn / n
    means = sums / len(reward)
    with np.errstate(divide="ignore", invalid="ignore"):
        self_normalised = np.where(drawn[0] > 0, drawn[1] / drawn[0], 0.0)
    return Counterfactual(
        matched=int((weight > 0).sum()),
        effective=total**2 / max(float((weight**2).sum()), 1e-12),
        support=_with_interval(means[0], draws[0]),
        ips=_with_interval(means[1], draws[1]),
        snips=_with_interval(sums[1] / total if total else 0.0, self_normalised),
        dr=_with_interval(means[2], draws[2]),
        gain=_with_interval(means[2] - means[3], draws[2] - draws[3]),
    )


def _with_interval(mean: float, draws: NDArray[np.float64]) -> Estimate:
    return Estimate(float(mean), *confidence_interval(draws))
