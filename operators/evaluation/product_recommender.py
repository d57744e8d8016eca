"""The product as a competitor: the recommender's learners and their blend, as the flow runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.catalogue.item_cards import ItemCards
from operators.evaluation.baselines import BASELINES
from operators.evaluation.competitors import BLEND
from state.arrays import NO_ROW
from state.entries import ItemUpdate
from state.interactions import EventColumns, ListRequests, ScoredLists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.evaluation.clicks import ClickStream, StreamClick
    from operators.evaluation.competitors import Request
    from operators.evaluation.sessions import ClickSession
    from operators.recommend.standalone import StandaloneRecommender
    from state.arrays import Rows

BATCH_CLICKS = 4096
"""Clicks learned at once where no list is asked for in between: the flow's own batch."""


class ProductRecommender:
    """A recommender that learns `clicks`.

    Clicks are learned when the next list is asked for, or in batches as the flow does. Of one that is
    `blend_name` compared with, the blend alone is listed, under that name.
    """

    def __init__(
        self,
        recommender: StandaloneRecommender,
        clicks: ClickStream,
        *,
        blend_name: str = "",
        batch: int = BATCH_CLICKS,
    ) -> None:
        self._blend_name = blend_name
        self._batch = batch
        self._recommender = recommender
        self._clicks = clicks
        self._cards = ItemCards()
        self._buffered: list[tuple[StreamClick, int]] = []
        self._to_stream: list[int] = []
        self._names = [
            # The baseline keeps its plain name: published figures are compared with it.
            f"live-{learner.name}" if learner.name in BASELINES else learner.name
            for learner in recommender.components.learners
        ]

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        """Learn a click, and the attributes of its item, if it has any."""
        about = self._clicks.item_updates.get(click.number)
        if about is not None:
            self._cards.update([ItemUpdate(click.at_ms, about, "")])
        self._buffered.append((click, session.start_ms))
        if len(self._buffered) >= self._batch:
            self._learn_buffered()

    def recommend(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        """The learners' own lists and the blend, for each request."""
        self._learn_buffered()
        recommender, generators = self._recommender, self._recommender.components.generators
        own_requests = self._to_requests(requests)
        banned_items = [self._item_rows(sorted(request.without)) for request in requests]
        # Enough candidates are left when the banned ones are gone.
        pool = generators.pool + max(map(len, banned_items))
        candidates = generators.generate(own_requests, pool)
        if any(banned_items):
            candidates = [
                _without_banned(lists, banned_items, generators.pool, len(recommender.items))
                for lists in candidates
            ]
        recommender.components.blend.store_pending(own_requests, candidates, own_requests.now_ms)
        blend, _ = recommender.assemble(own_requests, candidates, k)
        lists_by_name = {} if self._blend_name else dict(zip(self._names, candidates, strict=True))
        lists_by_name[self._blend_name or BLEND] = blend
        return [
            {name: self._stream_items(of.item[place, :k]) for name, of in lists_by_name.items()}
            for place in range(len(requests))
        ]

    def _learn_buffered(self) -> None:
        if not self._buffered:
            return
        shopper_ids, item_ids = self._clicks.shoppers.ids, self._clicks.items.ids
        clicks = [click for click, _ in self._buffered]
        self._recommender.learn(
            EventColumns(
                shoppers=[shopper_ids[click.shopper] for click in clicks],
                items=[item_ids[click.item] for click in clicks],
                kinds=[click.kind for click in clicks],
                weights=[self._clicks.weight[click.number] for click in clicks],
                at_ms=[click.at_ms for click in clicks],
                session_start_ms=[start_ms for _, start_ms in self._buffered],
                categories=[None] * len(clicks),
                segments=[None] * len(clicks),
                cards=self._cards.by_id,
                changed_items=self._cards.take_changed(),
            )
        )
        self._buffered.clear()
        new = self._recommender.items.ids[len(self._to_stream) :]
        self._to_stream.extend(map(self._clicks.items.get, new))

    def _to_requests(self, requests: Sequence[Request]) -> ListRequests:
        """Shoppers with their own contexts; strangers with the session they come with."""
        recommender = self._recommender
        find, reach = recommender.shoppers.get, recommender.components.session_contexts.length
        ids = self._clicks.shoppers.ids
        shopper = np.array(
            [NO_ROW if r.shopper == NO_ROW else find(ids[r.shopper]) for r in requests], np.int32
        )
        context = recommender.components.session_contexts.lookup(shopper)
        for index, request in enumerate(requests):
            if request.shopper == NO_ROW:
                newest_first = self._item_rows(request.session[: -reach - 1 : -1])
                context[index, : len(newest_first)] = newest_first
        return ListRequests(shopper, context, np.array([r.now_ms for r in requests], np.int64))

    def _item_rows(self, items: Sequence[int]) -> list[int]:
        """Rows of the stream to rows of the recommender; NO_ROW stays."""
        ids, find = self._clicks.items.ids, self._recommender.items.get
        return [NO_ROW if item == NO_ROW else find(ids[item]) for item in items]

    def _stream_items(self, row: Rows) -> list[int]:
        return [self._to_stream[item] for item in row.tolist() if item != NO_ROW]


def _without_banned(
    lists: ScoredLists, banned_items: Sequence[list[int]], pool: int, items: int
) -> ScoredLists:
    """The best `pool` of each row without what must not be listed."""
    is_banned = np.empty(lists.item.shape, np.bool_)
    # One place more than there are items: NO_ROW, at the end, is banned like any other or not at all.
    is_banned_row = np.zeros(items + 1, np.bool_)
    for index, items_out in enumerate(banned_items):
        is_banned_row[items_out] = True
        is_banned[index] = is_banned_row[lists.item[index]]
        is_banned_row[items_out] = False
    order = is_banned.argsort(axis=1, kind="stable")[:, :pool]
    row = np.arange(len(order))[:, None]
    item = np.where(is_banned, NO_ROW, lists.item)
    return ScoredLists(item[row, order], lists.score[row, order], lists.reason_item[row, order])
