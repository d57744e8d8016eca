"""Merging a device's shopper into its user: two rows in, one row out; and the order of the steps."""

from __future__ import annotations

from operators.shards.config import ProcessorConfig
from operators.shards.duplicates import pack_time_and_type
from operators.shards.merging import merge_in
from operators.shards.processor import ShopperProcessor
from operators.shards.shard_shoppers import ShardShoppers
from operators.shoppers.features import feature_rows
from operators.shoppers.id_hashes import id_hash
from state.config import Lifecycle, Profiles, Propensity, Sessions, State
from state.entries import Interaction
from state.messages import BatchId, ShardOutput, ShardTotals, StateTransfer
from state.shopper import PERSONALIZATION, Session, Shopper
from state.times import DAY_MS
from tests.plain_values import FEATURE_COLUMNS, plain
from tests.streams import MINUTE_MS, START_MS

CONFIG = ProcessorConfig.from_config(
    Sessions(shards=1),
    Profiles(),
    State(),
    Lifecycle(dormant_days=30),
    propensity=Propensity(sampled_share=0.0, horizon_days=30),
)
MERGED_MS = START_MS + 10 * MINUTE_MS


def details(at_ms: int) -> bytes:
    """What is remembered of an item view beside the hash of its id."""
    return pack_time_and_type(at_ms, "item_view")


def row(first_ms: int, last_ms: int, *, known: bool, event_id: str, views: int = 1) -> Shopper:
    """A shopper with one open session from its first to its last event."""
    return Shopper(
        known,
        first_ms,
        last_ms,
        events=views,
        views=views,
        sessions=1,
        session_ms=last_ms - first_ms,
        session_events=views,
        open_sessions=[Session(first_ms, last_ms, events=views, views=views)],
        recent_event_hashes=id_hash(event_id),
        recent_event_details=details(first_ms),
    )


def merge(
    user: Shopper, device: Shopper, *, at_ms: int = MERGED_MS, interactions: int = 0
) -> tuple[ShardShoppers, ShardOutput]:
    """Merge the shopper `phone` into the user `ann`; the shard, and the output of the batch."""
    shoppers = ShardShoppers(CONFIG, {"ann": user}, ShardTotals(shoppers=1))
    processor = ShopperProcessor(shoppers)
    processor.begin_batch(BatchId("0", 0), 0, 0, last=False)
    transfer = StateTransfer(0, "phone", "ann", device, at_ms, 0)
    transfer.interactions = [
        Interaction(0, "ann", "mug", "item_view", at_ms, at_ms, "", "")
    ] * interactions
    merge_in(shoppers, transfer)
    return shoppers, processor.end_batch()


def test_two_rows_become_one() -> None:
    user = row(START_MS, START_MS + MINUTE_MS, known=True, event_id="u", views=2)
    device = row(START_MS + 5 * MINUTE_MS, MERGED_MS, known=False, event_id="d", views=3)
    shoppers, output = merge(user, device)
    assert plain(shoppers.rows["ann"]) == {
        "known": True,
        "first_ms": START_MS,
        "last_ms": MERGED_MS,
        "events": 5,
        "views": 5,
        "sessions": 1,
        "session_ms": 10 * MINUTE_MS,
        "session_events": 5,
        "open_sessions": [{"start_ms": START_MS, "last_ms": MERGED_MS, "events": 5, "views": 5}],
        "recent_event_hashes": (id_hash("u") + id_hash("d")).hex(),
        "recent_event_details": (details(START_MS) + details(START_MS + 5 * MINUTE_MS)).hex(),
        "consent": (0, None, None, None),
        "refused_ms": (0, 0, 0),
    }
    assert plain(shoppers.totals) == {"shoppers": 1, "merges": 1}
    assert plain(output.merged) == [("phone", "ann", MERGED_MS)]


def test_duplicates_before_sums_an_event_of_both_counts_once() -> None:
    user = row(START_MS, START_MS, known=True, event_id="same")
    device = row(START_MS, START_MS, known=False, event_id="same")
    shoppers, _ = merge(user, device)
    ann = shoppers.rows["ann"]
    assert (ann.events, ann.views, ann.sessions, shoppers.totals.repeats) == (1, 1, 1, 1)
    assert ann.recent_event_hashes == id_hash("same")


def test_the_absence_before_the_profile_it_is_when_both_were_away() -> None:
    returned_ms = START_MS + 40 * DAY_MS
    user = row(START_MS, START_MS, known=True, event_id="u")
    device = row(returned_ms, returned_ms, known=False, event_id="d")
    shoppers, _ = merge(user, device, at_ms=returned_ms)
    ann = shoppers.rows["ann"]
    assert (ann.absence_start_ms, ann.returned_ms) == (START_MS, returned_ms)


def test_observations_before_the_profile_they_show_the_user_alone() -> None:
    later_ms = START_MS + 40 * DAY_MS
    user = row(START_MS, START_MS, known=True, event_id="u")
    device = row(later_ms, later_ms, known=False, event_id="d")
    _, output = merge(user, device, at_ms=later_ms)
    of_user, of_merge = output.observations
    assert feature_rows([of_user.features_before])[0][FEATURE_COLUMNS.index("views")] == 1
    assert (of_merge.shopper, of_merge.merged_into) == ("phone", "ann")


def test_withdrawals_last_what_the_device_did_in_the_batch_is_limited_too() -> None:
    user = row(START_MS, START_MS, known=True, event_id="u")
    device = row(START_MS + MINUTE_MS, MERGED_MS, known=False, event_id="d")
    device.consent, device.refused = (MERGED_MS, True, False, True), PERSONALIZATION
    _, output = merge(user, device, interactions=1)
    assert output.interactions == []
    assert [limited.refused for limited in output.limited_interactions] == [PERSONALIZATION]
