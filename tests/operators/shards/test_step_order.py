"""The order of the steps in which a shard counts an event: each test fails if two are swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules.compiler import RuleSet
from operators.shards.config import ProcessorConfig
from operators.shards.processor import ShopperProcessor
from operators.shards.shard_shoppers import ShardShoppers
from operators.shoppers.features import feature_rows
from state.config import Lifecycle, Profiles, Propensity, Sessions, State
from state.events import Consent, Item
from state.messages import BatchId, ShardTotals
from state.times import DAY_MS
from tests.plain_values import FEATURE_COLUMNS
from tests.streams import GAP_MS, LATENESS_MS, MINUTE_MS, START_MS, event, view

if TYPE_CHECKING:
    from state.events import Event
    from state.messages import ShardOutput

RULES = """
returned: {when: {event: refund, value: at least 10}}
shops: {when: session_events >= 2}
visit: {when: session_events >= 1}
"""
CONFIG = ProcessorConfig.from_config(
    Sessions(shards=1),
    Profiles(),
    State(),
    Lifecycle(dormant_days=30),
    RuleSet.from_text(RULES, "segments.yaml", gap_ms=GAP_MS),
    propensity=Propensity(sampled_share=1.0, horizon_days=30),
)


def process(*events: Event) -> tuple[ShardShoppers, ShardOutput]:
    """Process the events of one shopper in one batch; the shard and the output."""
    shoppers = ShardShoppers(CONFIG, {}, ShardTotals())
    processor = ShopperProcessor(shoppers)
    processor.begin_batch(BatchId("0", 0), 0, 0, last=False)
    watermark_ms = 0
    for position, one in enumerate(events):
        processor.process_event("ann", one, position, watermark_ms, known=False)
        watermark_ms = one.event_ts - LATENESS_MS
    return shoppers, processor.end_batch()


def order(event_id: str, at_ms: int) -> Event:
    return event("purchase", event_id, at_ms, order_id="o", value=10.0, items=(Item("mug"),))


def feature(row: bytes, name: str) -> float:
    return float(feature_rows([row])[0][FEATURE_COLUMNS.index(name)])


def test_consent_before_duplicates_a_withheld_event_leaves_no_hash() -> None:
    refusal = event("consent", 1, 0, consent=Consent(analytics=False))
    shoppers, _ = process(refusal, view(2, 1))
    assert shoppers.rows["ann"].recent_event_hashes == b""
    assert (shoppers.totals.withheld, shoppers.totals.accepted) == (2, 0)


def test_timers_of_rules_before_the_session_a_visit_ends_before_the_next_one_begins() -> None:
    _, output = process(view(1, 0), view(2, 60 * MINUTE_MS))
    visit = [
        (change.entered, change.at_ms - START_MS)
        for change in output.transitions
        if change.segment == "visit"
    ]
    assert visit == [(True, 0), (False, GAP_MS + 1), (True, 60 * MINUTE_MS)]


def test_observations_before_the_profile_they_show_the_shopper_without_the_event() -> None:
    _, output = process(view(1, 0), view(2, 40 * DAY_MS))
    (before,) = [one.features_before for one in output.observations if one.features_before]
    assert (feature(before, "views"), feature(before, "last_ms")) == (1, START_MS)


def test_the_absence_before_the_profile_it_ends_with_the_event() -> None:
    shoppers, _ = process(view(1, 0), view(2, 40 * DAY_MS))
    ann = shoppers.rows["ann"]
    assert (ann.absence_start_ms, ann.returned_ms) == (START_MS, START_MS + 40 * DAY_MS)


def test_the_session_before_the_profile_the_counts_of_the_event_go_into_it() -> None:
    shoppers, _ = process(view(1, 0), view(2, 2 * GAP_MS))
    assert [session.views for session in shoppers.rows["ann"].open_sessions] == [1, 1]


def test_orders_before_rules_they_see_a_refund_with_what_it_gave_back() -> None:
    refund = event("refund", "r", 1, order_id="o", items=(Item("mug"),))
    shoppers, output = process(order("p", 0), refund)
    assert shoppers.rows["ann"].refund_micros == 10_000_000
    assert ("returned", START_MS + 1) in [(one.segment, one.at_ms) for one in output.transitions]


def test_decisions_after_the_profile_they_see_the_event() -> None:
    _, output = process(view(1, 0), order("p", 1))
    assert [feature(one[16:], "purchases") for one in output.decisions] == [0, 1]


def test_rules_last_they_see_the_session_with_the_event() -> None:
    _, output = process(view(1, 0), view(2, 1))
    entered = [(change.segment, change.at_ms) for change in output.transitions if change.entered]
    assert ("shops", START_MS + 1) in entered
