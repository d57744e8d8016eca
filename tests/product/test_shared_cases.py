"""Records that shops really send, of persons and orders: each comes to what is right in any batches."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from serving.reader import Storefront
from state import keys
from state.store import Store
from tests.operators.readers.test_shop_records import profiles, replay
from tests.shared import shared_case

if TYPE_CHECKING:
    from pathlib import Path

Figures = dict[str, dict[str, str]]
RULES = (
    "lists.rules.category_cap.most=2",
    "lists.rules.diversity.weight=0.3",
    "lists.rules.own_brand.brands=[Ours]",
)
RIGHT: list[tuple[str, str, Figures]] = [
    (
        "poison-quantity-order",
        "penstock",
        {"ann": {"purchases": "1", "units": "999999"}, "bob": {"events": "1"}},
    ),
    ("poison-quantity-cart", "penstock", {"ann": {"carts": "1"}, "bob": {"events": "1"}}),
    (
        "order-twice-then-merged",
        "segment",
        {"ann": {"purchases": "1", "revenue": "50.00", "units": "1", "views": "1"}},
    ),
    ("order-again-on-phone", "segment", {"ann": {"purchases": "1", "revenue": "17.94"}}),
    (
        "full-refund",
        "segment",
        {
            "ann": {"revenue": "107.00", "refunded": "107.00", "refunds": "1"},
            "bob": {"revenue": "107.00", "refunded": "107.00", "refunds": "1"},
        },
    ),
    (
        "mixed-currencies",
        "segment",
        {
            "ann": {"purchases": "2", "revenue": "10.00", "currency": "EUR"},
            "bob": {"purchases": "1", "revenue": "200.00", "currency": "EUR"},
        },
    ),
]


@pytest.mark.parametrize("batch_events", [1, 8192])
@pytest.mark.parametrize(("name", "format_name", "right"), RIGHT, ids=[one[0] for one in RIGHT])
def test_orders_of_persons_are_what_they_are(
    name: str, format_name: str, right: Figures, batch_events: int, redis_url: str, tmp_path: Path
) -> None:
    path, batches = shared_case(name), f"source.batch_events={batch_events}"
    found = replay(path, format_name, redis_url, tmp_path, "--set", batches)
    assert (found["rejected"], found["shoppers"]) == ({}, len(right))
    assert profiles(redis_url, right) == right
    if name == "mixed-currencies":  # 10 EUR and 10,000 JPY are no 10,010 of anything
        assert "big-spender" not in segments_of("ann", redis_url)


def segments_of(shopper: str, redis_url: str) -> set[str]:
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    found = set(Storefront(store).segments_of(shopper))
    store.close()
    return found


@pytest.mark.parametrize(
    ("order", "batch_events"),
    [(order, batch) for batch in (1, 4) for order in [*permutations(range(4))][:: 5 - batch]],
    ids=str,
)
def test_a_list_holds_what_can_be_had_in_every_order_with_every_rule(
    order: tuple[int, ...], batch_events: int, redis_url: str, tmp_path: Path
) -> None:
    lines = shared_case("sold-out-item-viewed").read_text().splitlines()
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines[n] for n in order) + "\n")
    sets = [word for one in RULES for word in ("--set", one)]
    batches = ("--set", f"source.batch_events={batch_events}")
    found = replay(path, "penstock", redis_url, tmp_path, *sets, *batches)
    assert (found["accepted"], found["rejected"]) == (4, {})
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    top = Storefront(store).list_for("ann")
    listed = {entry.item for entry in top.entries} if top else set()
    store.close()
    assert listed & {"b", "c"}
    assert "a" not in listed


@pytest.mark.parametrize("batch_events", [1, 3, 8192])
def test_an_erased_user_whose_device_returns_is_a_stranger(
    batch_events: int, redis_url: str, tmp_path: Path
) -> None:
    batches = f"source.batch_events={batch_events}"
    path = shared_case("erased-user-returns")
    replay(path, "penstock", redis_url, tmp_path, "--set", batches)
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    client = store.client
    names = [key.decode() for key in client.scan_iter("*")]
    assert [name for name in names if "u1" in name or "ps:1:alias:" in name] == []
    members = [client.zrange(name, 0, -1) for name in names if name.endswith(":members")]
    assert {one.decode() for some in members for one in some} <= {"d2"}
    assert profiles(redis_url, {"d2": {"views": "", "known": ""}}) == {
        "d2": {"views": "1", "known": "0"}
    }
    assert client.exists(keys.profile_key("d1")) == 0
    store.close()
