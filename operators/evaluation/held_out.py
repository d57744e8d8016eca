"""Protocols that learn first and score then: `split` and `leave-one-out`.

split          A stream is learned once, then cases (prefix, target) are scored and never learned.
leave-one-out  What each shopper did before their last click is learned, then the last clicks are scored.
               What others did later is known by then: the figures are too good for a stream, but can be
               compared with papers that do the same.
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
"""Cases of one request: nothing is learned between them, so this changes the speed alone."""


def split(
    clicks: ClickStream,
    cases: Iterable[RawCase],
    competitors: Sequence[Competitor],
    options: ProtocolOptions,
) -> EvaluationResult:
    """Learn the stream, then score the cases as unknown shoppers whose session is the prefix."""
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
    """Learn what each shopper did before their last click, then score the last clicks on lists of the
    end."""
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
    """Learn the stream, of each shopper only the clicks before number `until`; returns their items."""
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
    """Score cases on lists that are made now, one request for each case."""
    for case, lists in zip(cases, recommend_all(competitors, requests, result.k), strict=True):
        result.add(case, lists, history)
