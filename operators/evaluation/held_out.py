"""Which cases are scored, on which list, and what has been learned by then.

prequential    In time order; the list that is scored on a click is the one made right after the
               shopper's click before it, as a storefront would have read it. Then the click is
               learned. Without a click before (a new shopper), the list is made for a stranger, there
               and then.
split          A stream is learned once, then cases (prefix, target) are scored and never learned.
leave-one-out  What each shopper did before their last click is learned, then those are scored. What
               others did later is known by then: figures are too good, but comparable with texts
               that do so.

Views are cases; carts and purchases are learned from, not scored (in a stream without views they take
their place). Repeats count and the current item may be listed, unless `unseen`: then lists leave out
what the shopper had, and a click on such an item is no case. With `known` a shopper's first click, or
an empty prefix, is no case.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from operators.evaluation.click_history import ItemClickHistory
from operators.evaluation.competitors import Competitor, ProtocolOptions, Request, recommend_all
from operators.evaluation.results import Case, EvaluationResult
from operators.evaluation.sessions import SessionTracker
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from operators.evaluation.clicks import ClickStream
    from operators.evaluation.formats import RawCase


SPLIT_BATCH = 1024
"""Cases asked for at once: nothing is learned between them, so this changes nothing but the speed."""


def split(
    clicks: ClickStream,
    cases: Iterable[RawCase],
    competitors: Sequence[Competitor],
    options: ProtocolOptions,
) -> EvaluationResult:
    """Learn the stream, then score the cases as strangers whose session is the prefix."""
    result, history = EvaluationResult(options.k, clicks.category_of), ItemClickHistory()
    sessions = SessionTracker(options.session_gap_ms)
    _learn_stream(clicks, competitors, sessions, history)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    find = clicks.items.get
    scored, owner, previous = iter(cases), 0, None
    while batch := list(islice(scored, SPLIT_BATCH)):
        scored_cases: list[Case] = []
        requests: list[Request] = []
        for case in batch:
            owner += previous is not None and not case.is_same_session(previous)
            previous = case
            prefix = [find(item) for item in case.prefix]
            seen = set(prefix) if options.unseen else set[int]()
            if (options.known and not prefix) or (options.unseen and case.target in case.prefix):
                continue
            scored_cases.append(Case(find(case.target), now_ms, owner, len(prefix), bool(prefix)))
            requests.append(Request(NO_ROW, prefix, now_ms, seen))
        _score(result, scored_cases, requests, competitors, history)
    return result


def leave_one_out(
    clicks: ClickStream, competitors: Sequence[Competitor], options: ProtocolOptions
) -> EvaluationResult:
    """Learn all that each shopper did before their last click, then score that on lists of the end."""
    result, history = EvaluationResult(options.k, clicks.category_of), ItemClickHistory()
    sessions = SessionTracker(options.session_gap_ms)
    last = _last_of_each(clicks)
    clicked_by = _learn_stream(clicks, competitors, sessions, history, until=last)
    now_ms = clicks.at_ms[-1] if len(clicks) else 0
    held_out = sorted(number for shopper, number in last.items() if shopper in clicked_by)
    for start in range(0, len(held_out), SPLIT_BATCH):
        scored_cases: list[Case] = []
        requests: list[Request] = []
        for number in held_out[start : start + SPLIT_BATCH]:
            shopper, item = clicks.shopper[number], clicks.item[number]
            seen = clicked_by[shopper] if options.unseen else set[int]()
            if item in seen:
                continue
            session = sessions.items_of(shopper)
            scored_cases.append(Case(item, now_ms, shopper, len(session), True))
            requests.append(Request(shopper, session, now_ms, seen))
        _score(result, scored_cases, requests, competitors, history)
    return result


def _last_of_each(clicks: ClickStream) -> dict[int, int]:
    """The number of each shopper's last click of the scored kind."""
    last: dict[int, int] = {}
    for number, (shopper, kind) in enumerate(zip(clicks.shopper, clicks.kind, strict=True)):
        if kind == clicks.scored_kind:
            last[shopper] = number
    return last


def _learn_stream(
    clicks: ClickStream,
    competitors: Sequence[Competitor],
    sessions: SessionTracker,
    history: ItemClickHistory,
    until: Mapping[int, int] | None = None,
) -> dict[int, set[int]]:
    """Learn the stream, of a shopper only up to `until` a click, by number; gives what each had."""
    clicked_by: dict[int, set[int]] = {}
    scored_kind = clicks.scored_kind
    for number, click in enumerate(clicks):
        if until is not None and number >= until.get(click.shopper, number + 1):
            continue
        session = sessions.current_session(click)
        for competitor in competitors:
            competitor.learn(click, session)
        history.count(click.item, click.at_ms)
        clicked_by.setdefault(click.shopper, set()).add(click.item)
        if click.kind == scored_kind:
            session.items.append(click.item)
    return clicked_by


def _score(
    result: EvaluationResult,
    cases: Sequence[Case],
    requests: Sequence[Request],
    competitors: Sequence[Competitor],
    history: ItemClickHistory,
) -> None:
    """Score cases on lists made now, one request a case."""
    for case, lists in zip(cases, recommend_all(competitors, requests, result.k), strict=True):
        result.add(case, lists, history)
