"""Segments by rule through the shards: who enters and leaves when, whatever the batches."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from operators.segments.compiling import RuleSet
from operators.visit import Rules
from state.config import Lifecycle, Profiles, Sessions, State
from tests.streams import (
    GAP_MS,
    ITEMS,
    MINUTE_MS,
    SHARDS,
    START_MS,
    Flow,
    event,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event
    from state.messages import Transition

RULES = """
keen: {when: {event: item_view, category: wear, count: at least 2, within: 30 min}}
buyers: {when: purchases >= 1}
cart-left:
  when:
    sequence:
      - event: cart_add
      - then no: purchase
        within: 10 min
    within: 2 h
quiet: {when: {all: [{no: item_view, for: 1 h}, not: {segment: buyers}]}}
here: {when: session_events >= 2}
"""


def rules_of(text: str) -> Rules:
    compiled = RuleSet.of(text, "segments.yaml", gap_ms=GAP_MS)
    return Rules.of(Sessions(shards=SHARDS), Profiles(), State(), Lifecycle(), compiled)


def transitions(flow: Flow) -> dict[str, list[Transition]]:
    """Those of each shopper, in the order in which they were told."""
    told: dict[str, list[Transition]] = {}
    for visited in flow.visited:
        for transition in visited.transitions:
            told.setdefault(transition[0], []).append(transition)
    return told


def gone(flow: Flow) -> set[str]:
    """Who became another or was erased."""
    moved = {one[0] for visited in flow.visited for one in visited.moved}
    return moved | {one[0] for visited in flow.visited for one in visited.erased}


def run(
    stream: Sequence[Event], text: str = RULES, *, cuts: int = 4096, resume: bool = False
) -> Flow:
    flow = Flow(rules=rules_of(text))
    rest = iter(stream)
    while batch := list(islice(rest, cuts)):
        flow.feed(batch)
        if resume:
            flow = flow.resumed()
    flow.feed([], last=True)
    return flow


def told(stream: Sequence[Event], text: str = RULES, who: str = "ann") -> list[str]:
    """What happens to one shopper: `60000 +keen` is that it enters after a minute."""
    return [
        f"{at_ms - START_MS} {'+' if entered else '-'}{sid}"
        for _, sid, entered, at_ms in transitions(run(stream, text)).get(who, [])
    ]


def passing(minutes: int) -> Event:
    """Somebody else, at a later time."""
    return event("page_view", f"later {minutes}", minutes * MINUTE_MS, "someone")


def test_a_window_is_left_without_an_event_when_its_edge_passes() -> None:
    text = "keen: {when: {event: item_view, category: wear, count: at least 2, within: 30 min}}"
    assert told([view(1, 0), view(2, MINUTE_MS), passing(90)], text) == [
        "60000 +keen",
        "1800000 -keen",
    ]


def test_a_cart_is_left_after_a_while_and_no_longer_when_it_is_bought() -> None:
    stream = [
        event("cart_add", 1, 0, items=(ITEMS[2],)),
        passing(9),
        passing(11),
        event("purchase", 2, 20 * MINUTE_MS, order_id="1", value=3.0),
        passing(600),
    ]
    text = RULES[RULES.index("cart-left") : RULES.index("quiet")]
    assert told(stream, text) == ["600000 +cart-left", "1200000 -cart-left"]


def test_nothing_more_is_told_of_who_is_erased() -> None:
    flow = Flow(rules=rules_of(RULES))
    flow.feed([view(1, 0), view(2, MINUTE_MS)])
    flow.feed([view(3, 2 * MINUTE_MS), event("erase", 4, 3 * MINUTE_MS), passing(900)])
    flow.feed([], last=True)
    assert {sid for _, sid, *_ in transitions(flow)["ann"]} == {"keen", "here"}
    assert all(entered for *_, entered, _ in transitions(flow)["ann"])


def test_an_anonymous_shopper_leaves_and_the_user_enters_with_both_histories() -> None:
    stream = [
        view(1, 0, None, user_id="u"),
        view(2, MINUTE_MS),
        view(3, 2 * MINUTE_MS),
        event("identify", 4, 3 * MINUTE_MS, "ann", "u"),
        passing(31),
    ]
    text = "keen: {when: {event: item_view, count: at least 3, within: 30 min}}"
    assert told(stream, text, "u") == ["120000 +keen", "1800000 -keen"]


@given(streams(settled=False), st.integers(1, 10), st.booleans())
def test_neither_batches_nor_a_resume_show(stream: list[Event], cuts: int, resume: bool) -> None:
    arrived = shuffled_within(stream, 20 * MINUTE_MS, seed=3)
    whole, cut = run(arrived), run(arrived, cuts=cuts, resume=resume)
    # Of who is no more, one batch tells nothing and several what they had told before.
    assert gone(whole) == gone(cut)
    one, other = transitions(whole), transitions(cut)
    settled = (one.keys() | other.keys()) - gone(whole)
    assert {who: one.get(who) for who in settled} == {who: other.get(who) for who in settled}
