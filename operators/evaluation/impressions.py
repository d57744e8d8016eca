"""Impressions with the probability that the item was shown, and their rewards: the log of a policy.

An impression is a `reco_view` with `reco.propensity`. Its reward is 1 if the same shopper clicks the
item in the list, views it, puts it into the cart or buys it within half an hour, else 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from state.events import Event

REWARD_MS = 30 * 60 * 1000
REWARDS = frozenset({"reco_click", "item_view", "cart_add", "purchase"})


class Impression(NamedTuple):
    """An item at a position in a list (from 1) that a shopper saw at a time (ms)."""

    shopper: str
    item: str
    position: int
    propensity: float
    at_ms: int
    reward: int


class ImpressionLog:
    """Observes events in any order; `rows` are the impressions with a propensity, in order of time."""

    def __init__(self) -> None:
        self._rows: list[Impression] = []
        self._rewards: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

    def observe(self, event: Event, shopper: str) -> None:
        """Keep the impression or the reward of an event, if it is one."""
        if event.type in REWARDS:
            for item in event.items:
                self._rewards[shopper, item.item_id].append(event.event_ts)
        reco = event.reco
        if event.type != "reco_view" or reco is None or not reco.propensity or not reco.position:
            return
        at_position = [item for item in event.items if item.position == reco.position]
        items = event.items if len(event.items) == 1 else at_position
        if len(items) == 1:
            name = items[0].item_id
            row = Impression(
                shopper, name, reco.position, reco.propensity, event.event_ts, reward=0
            )
            self._rows.append(row)

    def rows(self) -> list[Impression]:
        """The impressions, with the rewards observed so far."""
        for times in self._rewards.values():
            times.sort()
        rewarded_rows = []
        for row in sorted(self._rows, key=lambda row: row.at_ms):
            times = self._rewards.get((row.shopper, row.item), [])
            first_reward = bisect_left(times, row.at_ms)
            rewarded = first_reward < len(times) and times[first_reward] < row.at_ms + REWARD_MS
            rewarded_rows.append(row._replace(reward=int(rewarded)))
        return rewarded_rows
