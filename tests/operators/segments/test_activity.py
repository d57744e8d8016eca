"""Statistics of segments and of the shop equal a recount, whatever the batches, workers and restarts."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.segments.changes import changes_in
from operators.synthetic.traffic import generate_events
from state import config, keys
from state.times import DAY_MS
from tests import recount
from tests.operators.segments.rules.test_rules_in_shards import rules_of
from tests.personalization import Personalization
from tests.streams import (
    ITEMS,
    LATENESS_MS,
    MINUTE_MS,
    START_MS,
    Flow,
    event,
    flow_settings,
    shuffled_within,
    streams,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event
    from state.messages import BatchOutput

RULES = """
ready: {when: {sequence: [event: cart_add, {then no: purchase, within: 1 min}], within: 2 h}}
cart: {when: session_carts >= 1}
keen: {when: {event: item_view, count: at least 2, within: 30 min}}
buyers: {when: purchases >= 1}
young: {when: {not: purchases >= 2}}
"""
SETTINGS = flow_settings(segment_rules_text=RULES, rfm=config.Rfm(buyers_min=1))


class Said:
    """The change entries and the statistics of a stream that is cut into batches."""

    def __init__(self, *, settings: config.Settings = SETTINGS) -> None:
        self.settings = settings
        self.flow = Flow(rules=rules_of(settings.segment_rules_text))
        self.learning = Personalization(settings)
        self.changes: list[Any] = []
        self.figures: dict[str, dict[str, str]] = {}

    def feed(self, events: Sequence[Event], *, last: bool = False, **more: Any) -> None:
        self.flow.feed(events, last=last, **more)
        self.learn()

    def learn(self) -> None:
        parts, self.flow.parts[:] = list(self.flow.parts), []
        for output in self.learning.process_batch(parts):
            self.hear(output)

    def hear(self, output: BatchOutput) -> None:
        self.changes += changes_in(output.writes)
        keys_of = {keys.stats_key(sid): sid for sid in self.learning.state.memberships.registry.ids}
        keys_of[keys.shop_now_key()] = ""
        for write in output.writes:
            if isinstance(write, tuple) and write[0] == "HSET" and write[1] in keys_of:
                said = [str(part) for part in write[2:]]
                fields = dict(zip(said[::2], said[1::2], strict=True))
                self.figures.setdefault(keys_of[str(write[1])], {}).update(fields)

    def restart(self) -> None:
        self.flow = self.flow.resumed()
        self.learning = Personalization(self.settings, self.learning.snapshot())

    @property
    def moment_ms(self) -> int:
        return self.learning.state.clock.reporting_time_ms


def told(arrived: Sequence[Event], *, size: int, restarts: bool = False, workers: int = 1) -> Said:
    said, rest = Said(), iter(arrived)
    while batch := list(islice(rest, size)):
        said.feed(batch, workers=workers)
        if restarts:
            said.restart()
    said.feed([], last=True)
    return said


def assert_is_recounted(said: Said, arrived: Sequence[Event]) -> None:
    expected = recount.figures(arrived, said.changes, said.moment_ms)
    for sid, figures in expected.items():
        heard = said.figures[sid]
        assert {"": sid} | {name: heard[name] for name in figures} == {"": sid} | figures


@given(
    streams(max_events=40),
    st.sampled_from([7, 100]),
    st.booleans(),
    st.sampled_from([0, LATENESS_MS]),
)
@settings(max_examples=12, deadline=None)
def test_statistics_equal_a_recount(
    stream: list[Event], size: int, restarts: bool, late_ms: int
) -> None:
    arrived = shuffled_within(stream, late_ms, seed=4)
    assert_is_recounted(told(arrived, size=size, restarts=restarts), arrived)


@given(streams(max_events=25), st.integers(5, 30), st.sampled_from([0, LATENESS_MS]))
@settings(max_examples=5, deadline=None)
def test_results_do_not_depend_on_batches(stream: list[Event], size: int, late_ms: int) -> None:
    """Of the shop, rules and stages. Clusters are learned batch by batch: theirs may."""
    arrived = shuffled_within(stream, late_ms, seed=4)
    one, other = told(arrived, size=4), told(arrived, size=size)
    for sid in ("", "ready", "cart", "keen", "buyers", "young", "lifecycle-new"):
        assert comparable(one, sid) == comparable(other, sid), sid


def comparable(said: Said, sid: str) -> dict[str, str]:
    """The statistics without the watermark and the number of active shoppers."""
    varying = {"watermark_ms", "at", "events_1m", "active_shoppers", "late", "sessions_open"}
    return {name: one for name, one in said.figures.get(sid, {}).items() if name not in varying}


def test_an_order_counts_for_the_segment_that_it_makes_its_shopper_leave() -> None:
    minutes = [0, 2, 3, 4]
    arrived = [
        event("cart_add", 1, minutes[0] * MINUTE_MS, "ann", items=(ITEMS[1],)),
        event("cart_add", 2, minutes[0] * MINUTE_MS, "bob", items=(ITEMS[1],)),
        event("purchase", 3, minutes[1] * MINUTE_MS, "ann", order_id="1", value=30.0),
        event("purchase", 4, minutes[2] * MINUTE_MS, "ann", order_id="2", value=5.0),
        view(5, minutes[3] * MINUTE_MS, "cat"),
    ]
    said = told(arrived, size=100)
    assert_is_recounted(said, arrived)
    ready, buyers = said.figures["ready"], said.figures["buyers"]
    names = ("revenue_1d", "orders_1d", "aov_1d", "buyers_1d", "shoppers_1d", "conversion_1d")
    assert [ready[name] for name in names] == ["30.00", "1", "30.00", "1", "2", "0.5000"]
    assert (ready["size"], ready["revenue_after_1d"]) == ("1", "0.00")
    assert [buyers[name] for name in names[:3]] == ["5.00", "1", "5.00"]
    assert (buyers["orders_after_1d"], buyers["revenue_after_1d"]) == ("2", "35.00")
    assert said.figures[""]["revenue_1d"] == "35.00"


def test_a_day_and_five_minutes_end_to_the_millisecond() -> None:
    arrived = [
        event("purchase", 1, 0, "ann", order_id="1", value=8.0),
        view(2, 10, "ann"),
        view(3, 5 * MINUTE_MS + 10, "bob"),
    ]
    said = told(arrived, size=1)
    assert said.figures["buyers"]["entered_5m"] == "0"
    said = told([*arrived[:2], view(3, 5 * MINUTE_MS - 1, "bob")], size=1)
    assert said.figures["buyers"]["entered_5m"] == "1"
    for later_ms, worth in ((DAY_MS - 1, "8.00"), (DAY_MS, "0.00")):
        said = told([*arrived[:2], view(3, later_ms, "bob")], size=2)
        assert said.figures[""]["revenue_1d"] == worth
        assert said.figures["buyers"]["revenue_after_1d"] == worth


def test_no_entry_is_counted_where_nobody_entered() -> None:
    """Hours after the last change, and after a restart."""
    arrived = [*generate_events(events=300, shoppers=60, items=20, events_per_s=0.05)]
    last_ms = arrived[-1].event_ts - START_MS
    later = [
        event("page_view", f"later {n}", last_ms + minutes * MINUTE_MS, "zoe")
        for n, minutes in enumerate((200, 206))
    ]
    said = Said()
    said.feed(arrived)
    for one in later:
        said.restart()
        said.feed([one])
    said.feed([], last=True)
    assert_is_recounted(said, [*arrived, *later])
    assert {one["entered_5m"] for sid, one in said.figures.items() if sid} == {"0"}


def test_an_order_of_two_merged_shoppers_counts_once() -> None:
    """It counts for the shopper who ordered first, whenever the merge is known."""
    first = [
        event("cart_add", 1, 0, "dev", items=(ITEMS[1],)),
        event("cart_add", 2, 1, None, "u", items=(ITEMS[1],)),
        event("purchase", "p", 5 * MINUTE_MS, "dev", order_id="1", value=8.0),
        event("purchase", "q", 5 * MINUTE_MS, None, "u", order_id="1", value=8.0),
        event("identify", 5, 6 * MINUTE_MS, "dev", "u"),
    ]
    for size in (1, 2, 5):
        said = told(first, size=size)
        assert said.figures[""]["revenue_1d"] == "8.00"
        assert said.figures["ready"]["revenue_1d"] == "8.00"
        assert said.figures["ready"]["orders_1d"] == "1"


@pytest.mark.slow
@given(streams(max_events=40), st.sampled_from([3, 8]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_results_do_not_depend_on_partitions_and_workers(
    stream: list[Event], size: int, restarts: bool
) -> None:
    """Events of one shopper in two partitions, whose shards are on two workers."""
    said, rest = Said(), iter(stream)
    partitions: dict[str, list[Event]] = {"a": [], "b": []}
    while batch := list(islice(rest, size)):
        for name, some in (("a", batch[::2]), ("b", batch[1::2])):
            partitions[name] += some
            said.feed(some, partition=name, partitions=2, workers=2)
        if restarts:
            said.restart()
    for name in partitions:
        said.feed([], partition=name, partitions=2, last=True, workers=2)
    assert_is_recounted(said, stream)
