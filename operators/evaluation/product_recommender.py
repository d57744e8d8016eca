"""The product itself as a rival: the recommender's learners and their blend, as the flow runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.catalogue.item_cards import Cards
from operators.evaluation.baselines import REFERENCES
from operators.evaluation.protocols import BLEND
from state.interactions import NOBODY, Events, Lists, Requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.evaluation.clicks import Click, Clicks, Session
    from operators.evaluation.protocols import Request
    from operators.recommend.recommender import Recommender
    from state.interactions import Rows

BATCH_CLICKS = 4096
"""Clicks learned at once where no list is asked for in between: the flow's own batch."""


class Product:
    """A recommender that learns `clicks`.

    Clicks are learned when the next list is asked for, or in batches as the flow does. Of one that is
    `only` compared with, the blend alone is listed, under that name.
    """

    def __init__(
        self, recommender: Recommender, clicks: Clicks, *, only: str = "", batch: int = BATCH_CLICKS
    ) -> None:
        self._only = only
        self._batch = batch
        self._recommender = recommender
        self._clicks = clicks
        self._cards = Cards()
        self._waiting: list[tuple[Click, int]] = []
        self._to_stream: list[int] = []
        self._names = [
            # The plain reference keeps its name: it is what others' figures are compared with.
            f"live-{learner.name}" if learner.name in REFERENCES else learner.name
            for learner in recommender.learners
        ]

    def learn(self, click: Click, session: Session) -> None:
        """Take a click in, and what it tells of its item."""
        about = self._clicks.told.get(click.number)
        if about is not None:
            self._cards.learn([(click.at_ms, about, "")])
        self._waiting.append((click, session.start_ms))
        if len(self._waiting) >= self._batch:
            self._learn_waiting()

    def top(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        """For each request the learners' own lists and the blend."""
        self._learn_waiting()
        recommender = self._recommender
        asked = self._asked(requests)
        without = [self._own_rows(sorted(request.without)) for request in requests]
        # So many that enough are left when all that must not be listed is gone.
        pool = recommender.asked.pool + max(map(len, without))
        lists = recommender.asked.candidates(asked, pool)
        if any(without):
            lists = [
                _left(of, without, recommender.asked.pool, len(recommender.items)) for of in lists
            ]
        recommender.blend.remember(asked, lists, asked.now_ms)
        named = {} if self._only else dict(zip(self._names, lists, strict=True))
        named[self._only or BLEND] = recommender.listing.listed(asked, lists, k)[0]
        return [
            {name: self._listed(of.item[place, :k]) for name, of in named.items()}
            for place in range(len(requests))
        ]

    def _learn_waiting(self) -> None:
        if not self._waiting:
            return
        shopper_ids, item_ids = self._clicks.shoppers.ids, self._clicks.items.ids
        clicks = [click for click, _ in self._waiting]
        self._recommender.learn(
            Events(
                shoppers=[shopper_ids[click.shopper] for click in clicks],
                items=[item_ids[click.item] for click in clicks],
                kinds=[click.kind for click in clicks],
                weights=[self._clicks.weight[click.number] for click in clicks],
                at_ms=[click.at_ms for click in clicks],
                session_start_ms=[start_ms for _, start_ms in self._waiting],
                categories=[None] * len(clicks),
                segments=[None] * len(clicks),
                cards=self._cards.rows,
                changed=self._cards.take_fresh(),
            )
        )
        self._waiting.clear()
        new = self._recommender.items.ids[len(self._to_stream) :]
        self._to_stream.extend(map(self._clicks.items.find, new))

    def _asked(self, requests: Sequence[Request]) -> Requests:
        """Shoppers with their own contexts; strangers with the session they come with."""
        recommender = self._recommender
        find, reach = recommender.shoppers.find, recommender.contexts.reach
        ids = self._clicks.shoppers.ids
        shopper = np.array(
            [NOBODY if r.shopper == NOBODY else find(ids[r.shopper]) for r in requests], np.int32
        )
        context = recommender.contexts.take(shopper)
        for place, request in enumerate(requests):
            if request.shopper == NOBODY:
                newest_first = self._own_rows(request.session[: -reach - 1 : -1])
                context[place, : len(newest_first)] = newest_first
        return Requests(shopper, context, np.array([r.now_ms for r in requests], np.int64))

    def _own_rows(self, items: Sequence[int]) -> list[int]:
        """Rows of the stream to rows of the recommender; NOBODY stays."""
        ids, find = self._clicks.items.ids, self._recommender.items.find
        return [NOBODY if item == NOBODY else find(ids[item]) for item in items]

    def _listed(self, row: Rows) -> list[int]:
        return [self._to_stream[item] for item in row.tolist() if item != NOBODY]


def _left(lists: Lists, without: Sequence[list[int]], pool: int, items: int) -> Lists:
    """The best `pool` of each row without what must not be listed."""
    gone = np.empty(lists.item.shape, np.bool_)
    # One place more than there are items: NOBODY, at the end, is banned like any other or not at all.
    banned = np.zeros(items + 1, np.bool_)
    for place, out in enumerate(without):
        banned[out] = True
        gone[place] = banned[lists.item[place]]
        banned[out] = False
    kept = gone.argsort(axis=1, kind="stable")[:, :pool]
    row = np.arange(len(kept))[:, None]
    item = np.where(gone, NOBODY, lists.item)
    return Lists(item[row, kept], lists.score[row, kept], lists.because[row, kept])
