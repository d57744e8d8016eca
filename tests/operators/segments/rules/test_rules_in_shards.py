"""Segments by rule through the shards: when shoppers enter and leave, whatever the batches."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from operators.kernels.rule_layout import HEAP_TOP
from operators.segments.rules.compiler import RuleSet
from operators.segments.rules.explain import explain
from operators.shards.config import ProcessorConfig
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

    PlainTransition = tuple[str, str, bool, int]
    """A transition as a tuple."""

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


def rules_of(text: str) -> ProcessorConfig:
    compiled = RuleSet.from_text(text, "segments.yaml", gap_ms=GAP_MS)
    return ProcessorConfig.from_config(
        Sessions(shards=SHARDS), Profiles(), State(), Lifecycle(), compiled
    )


def transitions(flow: Flow) -> dict[str, list[PlainTransition]]:
    """The transitions of each shopper, in the order of the output."""
    by_shopper: dict[str, list[PlainTransition]] = {}
    for visited in flow.visited:
        for transition in visited.transitions:
            by_shopper.setdefault(transition.shopper, []).append(astuple(transition))
    return by_shopper


def gone(flow: Flow) -> set[str]:
    """The shoppers who were merged into another or erased."""
    moved = {one.anonymous_id for visited in flow.visited for one in visited.merged}
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


def changes_of(stream: Sequence[Event], text: str = RULES, shopper_id: str = "ann") -> list[str]:
    """The transitions of one shopper: `60000 +keen` means that it enters after a minute."""
    return [
        f"{at_ms - START_MS} {'+' if entered else '-'}{sid}"
        for _, sid, entered, at_ms in transitions(run(stream, text)).get(shopper_id, [])
    ]


def passing(minutes: int) -> Event:
    """An event of another shopper, at a later time."""
    return event("page_view", f"later {minutes}", minutes * MINUTE_MS, "someone")


def test_a_shopper_leaves_when_the_end_of_a_window_passes_without_an_event() -> None:
    text = "keen: {when: {event: item_view, category: wear, count: at least 2, within: 30 min}}"
    assert changes_of([view(1, 0), view(2, MINUTE_MS), passing(90)], text) == [
        "60000 +keen",
        "1800000 -keen",
    ]


def test_a_cart_is_abandoned_after_a_while_until_it_is_bought() -> None:
    stream = [
        event("cart_add", 1, 0, items=(ITEMS[2],)),
        passing(9),
        passing(11),
        event("purchase", 2, 20 * MINUTE_MS, order_id="1", value=3.0),
        passing(600),
    ]
    text = RULES[RULES.index("cart-left") : RULES.index("quiet")]
    assert changes_of(stream, text) == ["600000 +cart-left", "1200000 -cart-left"]


def test_an_erased_shopper_has_no_more_transitions() -> None:
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
    assert changes_of(stream, text, "u") == ["120000 +keen", "1800000 -keen"]


@given(streams(settled=False), st.integers(1, 10), st.booleans())
def test_neither_batches_nor_a_resume_show(stream: list[Event], cuts: int, resume: bool) -> None:
    arrived = shuffled_within(stream, 20 * MINUTE_MS, seed=3)
    whole, cut = run(arrived), run(arrived, cuts=cuts, resume=resume)
    # Of who is no more, one batch tells nothing and several what they had told before.
    assert gone(whole) == gone(cut)
    one, other = transitions(whole), transitions(cut)
    settled = (one.keys() | other.keys()) - gone(whole)
    assert {who: one.get(who) for who in settled} == {who: other.get(who) for who in settled}


VIEWS = "{event: item_view, count: at least 2, within: 30 min}"
SEARCHES = "{event: search, within: 30 min}"


def resumed(flow: Flow, text: str, at_minute: int) -> list[str]:
    """The transitions of ann at a start with other rules."""
    flow = flow.resumed(rules_of(text))
    before = len(flow.visited)
    flow.feed([passing(at_minute)])
    flow.visited = flow.visited[before:]
    return [f"{'+' if one[2] else '-'}{one[1]}" for one in transitions(flow).get("ann", [])]


def shop() -> Flow:
    """Ann views twice and searches, all within three minutes."""
    flow = Flow(rules=rules_of(f"keen: {{when: {VIEWS}}}\nanyone: {{when: events >= 1}}"))
    search = event("search", 3, 2 * MINUTE_MS)
    flow.feed([view(1, 0), view(2, MINUTE_MS), search, passing(3)])
    return flow


def test_a_start_with_the_same_rules_changes_nothing_and_keeps_timers() -> None:
    same = f"anyone: {{name: All, when: events >= 1}}\nkeen: {{when: {VIEWS}}}"
    assert resumed(shop(), same, 20) == []
    flow = shop().resumed(rules_of(same))
    flow.feed([passing(40)])
    flow.feed([], last=True)
    assert transitions(flow)["ann"][-1] == ("ann", "keen", False, START_MS + 30 * MINUTE_MS)


def test_a_changed_rule_is_evaluated_from_the_stored_windows() -> None:
    three = VIEWS.replace("2", "1")
    text = (
        f"keen: {{when: {three}}}\nseen: {{when: {{not: {SEARCHES}}}}}\nbig: {{when: views >= 2}}"
    )
    # The window of views goes on and the profile is known; searches are noted from now on.
    assert resumed(shop(), text, 20) == ["-anyone", "+seen", "+big"]


def test_a_member_before_and_after_a_change_of_rule_does_not_enter_again() -> None:
    flow = shop().resumed(rules_of(f"keen: {{when: {{any: [{VIEWS}, views >= 9]}}}}"))
    flow.feed([passing(20)])
    rules = flow.outcome().shoppers["ann"].rule_state
    assert rules is not None
    assert rules.members == {"keen": START_MS + MINUTE_MS}


def test_without_rules_shoppers_leave_all_segments_and_windows_are_dropped() -> None:
    assert resumed(shop(), "", 20) == ["-anyone", "-keen"]


def test_the_time_since_when_a_window_is_full_is_known() -> None:
    flow = shop().resumed(rules_of(f"keen: {{when: {VIEWS}}}\nlost: {{when: {SEARCHES}}}"))
    flow.feed([passing(20)])
    engine = next(
        device.shoppers.rule_engine for device in flow.devices if "ann" in device.shoppers.rows
    )
    assert engine is not None
    assert engine.windows_filled_ms("keen") == 0
    assert engine.windows_filled_ms("lost") == START_MS + 3 * MINUTE_MS


def test_an_evicted_shopper_leaves_and_returns_with_its_windows() -> None:
    flow = shop()
    shoppers = next(d.shoppers for d in flow.devices if "ann" in d.shoppers.rows)
    row = shoppers.evict("ann")
    assert [(one.segment, one.entered) for one in shoppers.output.transitions[-2:]] == [
        ("anyone", False),
        ("keen", False),
    ]
    shoppers.restore("ann", row)
    flow.feed([event("search", 9, 4 * MINUTE_MS), passing(40)])
    flow.feed([], last=True)
    assert [one[1:] for one in transitions(flow)["ann"][-3:]] == [
        ("keen", True, START_MS + 4 * MINUTE_MS),
        ("anyone", True, START_MS + 4 * MINUTE_MS),
        ("keen", False, START_MS + 30 * MINUTE_MS),
    ]


def test_explain_says_which_conditions_hold_and_until_when() -> None:
    text = f"some: {{when: {{all: [{VIEWS}, purchases >= 1, {{no: search, within: 1 h}}]}}}}"
    flow = Flow(rules=rules_of(text))
    flow.feed([view(1, 0), view(2, MINUTE_MS), event("search", 3, 2 * MINUTE_MS)])
    compiled = flow.rules.segment_rules
    assert compiled is not None
    ann = flow.outcome().shoppers["ann"]
    now_ms = START_MS + 3 * MINUTE_MS
    whole, views, purchases, searches = explain(
        compiled.rules[0], "ann", ann, now_ms, gap_ms=GAP_MS
    )
    assert (whole.holds, whole.depth, views.depth) == (False, 0, 1)
    found = views.value, purchases.value, searches.value
    assert found == ("2 or more", "0", "1 or more")
    until_ms = START_MS + 30 * MINUTE_MS, None, START_MS + 62 * MINUTE_MS
    assert (views.until_ms, purchases.until_ms, searches.until_ms) == until_ms
    assert [one.words for one in (views, purchases, searches)] == [
        "item view (at least 2) within 30 min",
        "purchases at least 1",
        "no search within 1 h",
    ]
    assert [one.holds for one in (views, purchases, searches)] == [True, False, False]


def test_explain_counts_the_items_of_a_sequence_of_the_same_item() -> None:
    passed_over = "[event: item_view, {then no: cart_add, within: 10 min}], same: item, within: 1 h"
    flow = Flow(rules=rules_of(f"some: {{when: {{sequence: {passed_over}}}}}"))
    looked = [event("item_view", n, n, items=(ITEMS[n],)) for n in (1, 2, 3)]
    flow.feed([*looked, event("cart_add", 4, MINUTE_MS, items=(ITEMS[2],))])
    compiled = flow.rules.segment_rules
    assert compiled is not None
    ann = flow.outcome().shoppers["ann"]
    results = [
        explain(compiled.rules[0], "ann", ann, START_MS + minute * MINUTE_MS, gap_ms=GAP_MS)[0]
        for minute in (5, 11, 61)
    ]
    assert [(one.holds, one.value) for one in results] == [
        (False, "of 0 items"),
        (True, "of 2 items"),
        (False, "of 0 items"),
    ]
    assert results[0].until_ms == START_MS + 1 + 10 * MINUTE_MS
    assert results[1].until_ms == START_MS + 3 + 60 * MINUTE_MS


def test_a_sign_in_merges_the_views_of_both_shoppers() -> None:
    twice = "[event: item_view, then: item_view], same: item, within: 1 h"
    flow = Flow(rules=rules_of(f"twice: {{when: {{sequence: {twice}}}}}"))
    looked = [(0, None, "u", 1), (1, "d", None, 2), (2, "d", None, 1), (3, None, "u", 3)]
    flow.feed(
        event("item_view", n, n, device, user, items=(ITEMS[item],))
        for n, device, user, item in looked
    )
    assert transitions(flow) == {}
    flow.feed([event("identify", 4, 4, "d", "u")])
    flow.feed([], last=True)
    assert [one[1:3] for one in transitions(flow)["u"]] == [("twice", True)]


def test_rows_and_windows_of_erased_shoppers_are_used_again() -> None:
    """The timer of a window of weeks would wait for weeks, even if its shopper is erased."""
    text = "lately: {when: {event: item_view, count: at least 1, within: 30 d}}"
    flow = Flow(rules=rules_of(text))
    for n in range(40):
        names = [f"shopper-{n}-{m}" for m in range(50)]
        at_ms = n * MINUTE_MS
        flow.feed([view(f"{name}-1", at_ms, name) for name in names])
        flow.feed([event("erase", f"{name}-2", at_ms + 1, name) for name in names])
    for device in flow.devices:
        engine = device.shoppers.rule_engine
        assert engine is not None
        assert len(engine._rows.names) <= 50
        assert engine._rows.heap[HEAP_TOP] <= 1 + 50
