"""The protocol `prequential`: each click is scored on the list that its shopper had, then learned.

The scored list is the one made right after the shopper's click before, as a storefront would have read
it. A new shopper has none: that list is made for an unknown shopper, at the moment of the click.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from operators.evaluation.click_history import ItemClickHistory
from operators.evaluation.competitors import Competitor, ProtocolOptions, Request, recommend_all
from operators.evaluation.results import Case, EvaluationResult
from operators.evaluation.sessions import SessionTracker
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.evaluation.clicks import ClickStream
    from operators.evaluation.results import Lists


def prequential(
    clicks: ClickStream, competitors: Sequence[Competitor], options: ProtocolOptions
) -> EvaluationResult:
    """Score, then learn, click by click; all parts of the stream but the last are only learned."""
    result, history = EvaluationResult(options.k, clicks.category_of), ItemClickHistory()
    sessions = SessionTracker(options.session_gap_ms)
    published = _PublishedLists(competitors, options)
    known: set[int] = set()
    clicked_by: defaultdict[int, set[int]] = defaultdict(set)
    scored_kind, warm = clicks.scored_kind, clicks.starts[-1]
    expected = _expected(clicks, scored_kind, warm)
    for number, click in enumerate(clicks):
        shopper, item, at_ms = click.shopper, click.item, click.at_ms
        session = sessions.current_session(click)
        seen = clicked_by[shopper] if options.unseen else set[int]()
        lists = published.receive(shopper)
        is_scored = number >= warm and click.kind == scored_kind and item not in seen
        if is_scored and not (lists is None and options.known):
            if lists is None:
                lists = published.for_new_shopper(at_ms)
            case = Case(item, at_ms, shopper, len(session.items), shopper in known)
            result.add(case, lists, history)
        for competitor in competitors:
            competitor.learn(click, session)
        history.count(item, at_ms)
        known.add(shopper)
        if options.unseen:
            seen.add(item)
        if click.kind == scored_kind:
            session.items.append(item)
        if expected[number]:
            published.request(Request(shopper, session.items, at_ms, seen))
    return result


class _PublishedLists:
    """The newest list of each shopper. `lists_at_once` are made together, or when one of them is
    needed."""

    def __init__(self, competitors: Sequence[Competitor], options: ProtocolOptions) -> None:
        self._competitors = competitors
        self._options = options
        self._requested: dict[int, Request] = {}
        self._lists: dict[int, Lists] = {}
        self._new_shopper_lists: Lists = {}
        self._new_shoppers = 0

    def request(self, request: Request) -> None:
        """Ask for the next list of a shopper."""
        self._requested[request.shopper] = request
        if len(self._requested) >= self._options.lists_at_once:
            self._make_lists()

    def receive(self, shopper: int) -> Lists | None:
        """The shopper's list, if there is one. Each list is given once."""
        if shopper in self._requested:
            self._make_lists()
        return self._lists.pop(shopper, None)

    def for_new_shopper(self, now_ms: int) -> Lists:
        """The list of an unknown shopper; it is used for `lists_at_once` of them."""
        if self._new_shoppers % self._options.lists_at_once == 0:
            request = Request(NO_ROW, (), now_ms, frozenset())
            self._new_shopper_lists = recommend_all(self._competitors, [request], self._options.k)[
                0
            ]
        self._new_shoppers += 1
        return self._new_shopper_lists

    def _make_lists(self) -> None:
        requests = list(self._requested.values())
        lists = recommend_all(self._competitors, requests, self._options.k)
        self._lists |= zip(self._requested, lists, strict=True)
        self._requested.clear()


def _expected(clicks: ClickStream, scored_kind: int, warm: int) -> bytearray:
    """The clicks after which a list will be scored. No other lists are made, which saves their time."""
    expected = bytearray(len(clicks))
    next_of: dict[int, int] = {}
    for number in reversed(range(len(clicks))):
        next_number = next_of.get(clicks.shopper[number])
        if next_number is not None and next_number >= warm:
            expected[number] = clicks.kind[next_number] == scored_kind
        next_of[clicks.shopper[number]] = number
    return expected
