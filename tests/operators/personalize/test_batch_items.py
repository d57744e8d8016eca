"""Live batches that are processed as one: what a later one removed is not in the interactions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.personalize.batch_items import batch_items
from operators.personalize.training.items import ItemTraining
from state.arrays import NO_ROW
from state.entries import ConsentWithdrawal, ItemUpdate, MergedShopper
from state.events import Item
from state.messages import BatchId, ShardOutput
from state.shopper import PURPOSES
from tests.operators.personalize.training.test_items import limited, messages, trained
from tests.streams import START_MS, flow_settings

if TYPE_CHECKING:
    from operators.personalize.training.items_trained import ItemsTrained

NOTHING = ShardOutput(BatchId("p", 0), 0, START_MS, False)


def step_of(*batches: list[tuple[str, str, str, int]]) -> list[ItemsTrained]:
    step = ItemTraining(flow_settings())
    return [trained(step, messages(number, rows)) for number, rows in enumerate(batches)]


def test_one_batch_is_taken_as_it_was_trained() -> None:
    [update] = step_of([("ann", "mug", "item_view", 1)])
    items = batch_items([[NOTHING]], [update])
    assert items.events is update.events
    assert items.item is update.trained.item


def test_interactions_of_shoppers_who_are_removed_later_become_the_users_or_nobodys() -> None:
    clicks = [("cookie", "mug"), ("eve", "cup"), ("zoe", "pot"), ("kim", "pan"), ("bob", "mug")]
    updates = step_of(
        [(shopper, item, "item_view", 1) for shopper, item in clicks],
        [("ann", "pot", "item_view", 2)],
    )
    later = ShardOutput(
        BatchId("p", 1),
        0,
        START_MS,
        False,
        merged=[MergedShopper("cookie", "ann", START_MS + 2)],
        erased=[("eve", START_MS + 2)],
        consent_withdrawals=[
            ConsentWithdrawal("zoe", PURPOSES["ads"], START_MS + 2),
            ConsentWithdrawal("kim", PURPOSES["personalization"], START_MS + 2),
        ],
    )
    items = batch_items([[NOTHING], [later]], updates)
    assert items.events.shoppers == ["ann", "zoe", "bob", "ann"]
    assert items.events.items == ["mug", "pot", "mug", "pot"]
    assert items.serves_ads == [True, False, True, True]
    assert items.item.tolist() == [0, 2, 0, 2]
    assert len(items.context) == 4


def test_an_item_that_lost_its_row_in_between_is_in_no_interaction() -> None:
    step = ItemTraining(limited(2))
    first = [("ann", f"item{n}", "item_view", n) for n in range(3)]
    updates = [trained(step, messages(0, first))]
    updates.append(trained(step, messages(1, [("bob", "new", "item_view", 9)])))
    assert updates[0].removed.tolist() == [0]
    assert updates[1].trained.item.tolist() == [0], "the row is given again"
    items = batch_items([[NOTHING], [NOTHING]], updates)
    assert items.events.items == ["item1", "item2", "new"]
    assert items.item.tolist() == [1, 2, 0]
    assert items.context[:, 0].tolist() == [NO_ROW, 1, NO_ROW]


def test_of_several_changes_of_stock_the_last_counts() -> None:
    step = ItemTraining(flow_settings())
    stock = [("mug", False), ("cup", False), ("mug", True)]
    updates = [
        trained(step, messages(n, [], [ItemUpdate(START_MS + n, Item(item, available=has), "")]))
        for n, (item, has) in enumerate(stock)
    ]
    items = batch_items([[NOTHING]] * 3, updates)
    ids = step.trainer.items.ids
    assert [ids[row] for row in items.sold_out] == ["cup"]
    assert [ids[row] for row in items.restocked] == ["mug"]
