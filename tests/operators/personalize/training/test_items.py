"""The step `train_items`: entries of shards in, what those who make lists must know out."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.personalize.training.items import ItemTraining
from operators.recommend.factory import build_components
from operators.tables.barrier import BarrierError
from state import keys
from state.arrays import NO_ROW
from state.entries import Interaction, ItemUpdate, MergedShopper
from state.events import Item
from state.interactions import PURCHASE, VIEW
from state.messages import BatchId
from state.training import ItemEvents
from tests.streams import SHARDS, START_MS, arguments, flow_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.personalize.training.items_trained import ItemsTrained
    from operators.recommend.items.models import ItemModels
    from state.config import Settings

DAY_MS = 86_400_000
Click = tuple[str, str, str, int]


def messages(
    number: int,
    clicks: Sequence[Click] = (),
    updates: Sequence[ItemUpdate] = (),
    *,
    last: bool = False,
    merged: Sequence[MergedShopper] = (),
    erased: Sequence[str] = (),
) -> list[ItemEvents]:
    """What the shards send of one batch, all entries from shard 0: (shopper, item, type, ms)."""
    interactions = [
        Interaction(position, shopper, item, kind, START_MS + ms, START_MS, "", "")
        for position, (shopper, item, kind, ms) in enumerate(clicks)
    ]
    newest_ms = max((one.at_ms for one in interactions), default=0)
    first = ItemEvents(
        BatchId("p", number, last=last),
        number,
        0,
        last,
        newest_ms,
        interactions,
        [],
        [*updates],
        [*merged],
        [*erased],
        [],
        [],
    )
    empty = ItemEvents(first.batch, number, 1, last, 0, [], [], [], [], [], [], [])
    return [first, *(msgspec.structs.replace(empty, shard=shard) for shard in range(1, SHARDS))]


def trained(step: ItemTraining, batch: list[ItemEvents]) -> ItemsTrained:
    [message] = step.process_batch(batch)
    return message


def replica() -> ItemModels:
    return build_components(flow_settings().lists).replica


def write(models: ItemModels, message: ItemsTrained) -> None:
    for changes in (message.trained.before, message.trained.changes, message.after_removal):
        if changes is not None:
            models.write(changes)


def assert_equal(ours: ItemModels, theirs: ItemModels) -> None:
    assert theirs.items.ids == ours.items.ids
    for table, copied in zip(ours.tables(), theirs.tables(), strict=True):
        copied.ensure_rows(len(table.replicated_columns()[0]))
        for column, other in zip(
            table.replicated_columns(), copied.replicated_columns(), strict=True
        ):
            assert np.array_equal(column, other, equal_nan=column.dtype.kind == "f")


def test_two_views_and_a_card_become_rows_contexts_lists_and_a_card() -> None:
    step = ItemTraining(flow_settings())
    update = ItemUpdate(START_MS, Item("mug", name="Mug", price=5.0, available=True), "EUR")
    clicks = [("ann", "cup", "item_view", 1), ("ann", "mug", "purchase", 2)]
    message = trained(step, messages(0, clicks, [update], last=True))
    assert message.events.shoppers == ("ann", "ann")
    assert message.events.items == ("cup", "mug")
    assert message.events.kinds == [VIEW, PURCHASE]
    assert message.trained.item.tolist() == [0, 1]
    assert message.trained.context[:, 0].tolist() == [NO_ROW, 0]
    assert message.has_changed_cards
    assert message.catalogue_events == []
    assert (message.trained.sold_out.tolist(), message.removed.tolist()) == ([], [])
    writes = map(arguments, message.writes)
    written = {write[1]: write for write in writes if write[0] != "EXPIRE"}
    assert written.keys() == {
        keys.similar_key("cup"),
        keys.similar_key("mug"),
        keys.card_key("mug"),
    }
    similar = orjson.loads(str(written[keys.similar_key("cup")][2]))
    assert similar["items"] == [["mug", 1.0, "because:cup"]]
    assert similar["at"] == START_MS + 2
    assert written[keys.card_key("mug")][2:] == (
        *("available", 1, "name", "Mug", "price", "5.00", "currency", "EUR"),
    )


def test_every_batch_gives_one_message_also_if_nothing_happened() -> None:
    step = ItemTraining(flow_settings())
    message = trained(step, messages(0))
    assert (message.sequence, message.parts) == (0, 1)
    assert message.trained.before is not None
    later = trained(step, messages(1))
    assert later.trained.before is None
    assert {len(rows.rows) for rows in later.trained.changes.tables} == {0}
    assert later.writes == []


def test_a_batch_of_which_a_part_is_missing_is_an_error_at_a_snapshot() -> None:
    step = ItemTraining(flow_settings())
    assert step.process_batch(messages(0)[:-1]) == []
    with pytest.raises(BarrierError, match="train_items"):
        step.snapshot()


def test_a_shopper_who_logs_in_takes_the_context_along_and_an_erased_one_leaves_none() -> None:
    step = ItemTraining(flow_settings())
    trained(step, messages(0, [("cookie", "mug", "item_view", 1), ("eve", "mug", "item_view", 1)]))
    merged = MergedShopper("cookie", "ann", START_MS + 2)
    clicks = [("ann", "cup", "item_view", 3), ("eve", "cup", "item_view", 3)]
    message = trained(step, messages(1, clicks, merged=[merged], erased=["eve"]))
    assert message.trained.context[:, 0].tolist() == [0, NO_ROW]
    assert step.trainer.shoppers.index.get("cookie") == NO_ROW


def test_items_above_the_limit_lose_their_row_after_the_batch() -> None:
    step = ItemTraining(limited(2))
    copy = replica()
    clicks = [("ann", f"item{n}", "item_view", n) for n in range(4)]
    message = trained(step, messages(0, clicks))
    assert message.removed.tolist() == [0, 1]
    write(copy, message)
    assert copy.items.ids == ["", "", "item2", "item3"]
    assert_equal(step.trainer.models, copy)
    write(copy, trained(step, messages(1, [("ann", "new", "item_view", 9)])))
    assert sorted(copy.items.row_by_id) == ["item3", "new"]
    assert_equal(step.trainer.models, copy)


def limited(items_max: int) -> Settings:
    config = flow_settings()
    state = msgspec.structs.replace(config.state, items_max=items_max)
    return msgspec.structs.replace(config, state=state)


def test_an_item_that_sells_out_leaves_the_lists_of_items() -> None:
    step = ItemTraining(flow_settings())
    clicks = [("ann", item, "item_view", n) for n, item in enumerate(["cup", "mug", "pot"])]
    trained(step, messages(0, clicks, last=True))
    gone = ItemUpdate(START_MS + 10, Item("mug", available=False), "")
    message = trained(step, messages(1, [], [gone]))
    assert message.trained.sold_out.tolist() == [step.trainer.items.get("mug")]
    listed = {
        write[1]: [item for item, *_ in orjson.loads(str(write[2]))["items"]]
        for write in map(arguments, message.writes)
        if write[0] == "SET"
    }
    assert listed[keys.similar_key("cup")] == ["pot"]
    assert "mug" not in {item for items in listed.values() for item in items}
    back = ItemUpdate(START_MS + 20, Item("mug", available=True), "")
    message = trained(step, messages(2, [], [back]))
    assert message.trained.restocked.tolist() == [step.trainer.items.get("mug")]
    assert [event.name for event in message.catalogue_events] == ["back-in-stock"]


clicks = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "eve"]),
        st.sampled_from([f"item{n}" for n in range(6)]),
        st.sampled_from(["item_view", "cart_add", "purchase"]),
        st.integers(0, 10_000),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(clicks, min_size=2, max_size=5), st.integers(1, 4))
def test_a_resumed_step_goes_on_alike_and_starts_with_the_whole_models(
    batches: list[list[Click]], at: int
) -> None:
    settings_, whole = limited(4), replica()
    step = ItemTraining(settings_)
    for number, rows in enumerate(batches):
        if number == at:
            resumed, again = ItemTraining(settings_, step.snapshot()), replica()
            message = trained(resumed, messages(number, rows))
            write(again, message)
            expected = trained(step, messages(number, rows))
            write(whole, expected)
            assert message.writes == expected.writes
            assert message.trained.item.tolist() == expected.trained.item.tolist()
            assert message.trained.context.tolist() == expected.trained.context.tolist()
            assert_equal(whole, again)
            step = resumed
        else:
            write(whole, trained(step, messages(number, rows)))
        assert_equal(step.trainer.models, whole)


def test_a_message_to_another_process_is_the_same_there() -> None:
    step, here, there = ItemTraining(flow_settings()), replica(), replica()
    update = ItemUpdate(START_MS, Item("mug", name="Mug", category=("home",), price=5.0), "EUR")
    message = trained(step, messages(0, [("ann", "mug", "item_view", 1)], [update]))
    sent = pickle.loads(pickle.dumps(message))
    write(here, message)
    write(there, sent)
    assert_equal(here, there)
    assert sent.events == message.events
    assert (sent.batch, sent.writes) == (message.batch, message.writes)
