"""Records as shops really send them: an order is never lost for a side detail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from flows.commands.cli import main
from operators.readers.registry import READERS
from serving.reader import Storefront
from state.dead_letters import RAW_BYTES_MAX, DeadLetter
from state.events import Event
from state.limits import Limits
from state.store import Store
from tests.shared import shared_case

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS = 1_790_000_000_000
Profiles = dict[str, dict[str, str]]


class Case(NamedTuple):
    """The result of a replay of a recorded case: counts of the report, and fields of profiles."""

    name: str
    format: str
    accepted: int
    rejected: dict[str, int]
    profiles: Profiles
    left_out: list[str] = []  # noqa: RUF012
    late: int = 0


ORDER = {"purchases": "1", "units": "1", "revenue": "40.00"}
LINE = "$.properties.products[]"
NO_ROW = "$.userId"

CASES = [
    Case(
        "gift-card-order",
        "segment",
        1,
        {},
        {"giftcard": {"purchases": "1", "revenue": "0.00"}},
        ["$.properties.total"],
    ),
    Case("null-in-products", "segment", 1, {}, {"nullprod": ORDER}, [LINE]),
    Case("discount-line", "segment", 1, {}, {"discountline": ORDER}, [f"{LINE}.price"]),
    Case("quantity-0-gift", "segment", 1, {}, {"freeqty": ORDER}, [f"{LINE}.quantity"]),
    Case("decimal-quantity", "segment", 1, {}, {"weight": {**ORDER, "revenue": "6.30"}}),
    Case("category-as-number", "segment", 1, {}, {"catint": {"top_category": "42"}}),
    Case("thousands-separator", "ga4", 1, {}, {"1.1": {"revenue": "4245.42", "purchases": "1"}}),
    Case(
        "anonymousId-for-everybody",
        "segment",
        2,
        {"blocked_id": 4},
        {name: {"views": "0", "purchases": "0"} for name in ("ann", "bob")},
    ),
    Case(
        "placeholder-ids",
        "segment",
        10,
        {},
        {f"dev-{n}": {"events": "1", "known": "0"} for n in range(1, 11)},
    ),
    Case(
        "user-id-false",
        "segment",
        9,
        {},
        {f"dev-{n}": {"events": "1", "known": "0"} for n in range(1, 10)},
        [NO_ROW],
    ),
    Case(
        "event-time-null",
        "ga4",
        1,
        {},
        {"1.2": {"first_ms": "1772359200000", "revenue": "10.00"}},
    ),
    Case(
        "bigquery-utc-time", "snowplow", 1, {}, {"d1": {"first_ms": "1772359200123", "views": "1"}}
    ),
    Case("bom-yoochoose", "yoochoose", 2, {}, {"1": {"views": "2"}}),
    Case(
        "future-row-in-replay",
        "segment",
        8,
        {},
        {
            name: {"sessions": str(sessions)}
            for name, sessions in (("a", 1), ("b", 2), ("c", 2), ("d", 1), ("fastclock", 1))
        },
    ),
]


def replay(
    path: Path | str, format_name: str, redis_url: str, folder: Path, *more: str
) -> dict[str, Any]:
    """The report of a replay through the command line."""
    report = folder / "report.json"
    words = ("--format", format_name, "--redis", redis_url, "--report", str(report))
    letters = ("--dead-letters", str(folder / "letters.jsonl"))
    assert main(["replay", str(path), *words, *letters, *more]) == 0
    found: dict[str, Any] = json.loads(report.read_bytes())
    return found


def profiles(redis_url: str, like: Profiles) -> Profiles:
    """The same fields of the same shoppers, as a storefront reads them."""
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    shop = Storefront(store)
    found = {
        name: {field: shop.profile(name).get(field, "") for field in fields}
        for name, fields in like.items()
    }
    store.close()
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_recorded_case_gives_the_right_counts_and_profiles(
    case: Case, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = replay(shared_case(case.name), case.format, redis_url, tmp_path)
    counts = (found["accepted"], found["rejected"], found["late"], found["shoppers"])
    assert counts == (case.accepted, case.rejected, case.late, len(case.profiles))
    assert profiles(redis_url, case.profiles) == case.profiles
    assert sorted(name.split()[-1] for name in found["left_out"]) == case.left_out
    assert all(name in capsys.readouterr().out for name in case.left_out[:1])


def test_orders_of_many_items_count_and_their_dead_letters_stay_short(
    redis_url: str, tmp_path: Path
) -> None:
    path = shared_case("ga4-bigquery-80-items")
    found = replay(path, "ga4-bigquery", redis_url, tmp_path)
    assert (found["by_type"], found["rejected"], found["shortened"]) == ({"purchase": 5}, {}, 0)
    few = ("--set", "source.event_items_max=50", "--set", "source.event_bytes_max=150000")
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    store.client.flushall()
    found = replay(path, "ga4-bigquery", redis_url, tmp_path, *few)
    assert (found["by_type"], found["rejected"]) == ({"purchase": 4}, {"too_large": 1})
    assert found["shortened"] == 3
    worths = {f"111.{n + 1}": {"revenue": f"{3.99 * items:.2f}"} for n, items in enumerate(SIZES)}
    assert profiles(redis_url, worths) == worths
    (letter,) = map(json.loads, (tmp_path / "letters.jsonl").read_bytes().splitlines())
    assert len(letter["raw"]) <= RAW_BYTES_MAX


SIZES = (20, 60, 80, 120)


def read(format_name: str, *records: Any, limits: Limits | None = None) -> list[Event | DeadLetter]:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    return list(READERS[format_name](lines, source="log", now_ms=NOW_MS, limits=limits or Limits()))


AT_MS = 1_772_359_200_000
AT = "2026-03-01T10:00:00Z"


def order(sender: str, lines: Any, *, kind: str = "purchase", **more: Any) -> dict[str, Any]:
    """An order in the format of a sender: lines of `id`, `price`, `quantity`; `value` if given."""
    value = more.pop("value", None)
    vendor = "com_snowplowanalytics_snowplow_ecommerce"
    many = lines if isinstance(lines, list) else [lines]

    def named(id_name: str) -> Any:
        renamed = [
            {(id_name if key == "id" else key): value for key, value in line.items()}
            if isinstance(line, dict)
            else line
            for line in many
        ]
        return renamed if isinstance(lines, list) else renamed[0]

    record = {
        "penstock": {
            "event_id": "e",
            "type": kind,
            "event_ts": AT_MS,
            "user_id": "ann",
            "order_id": "o",
            "value": value,
            "items": named("item_id"),
        },
        "segment": {
            "type": "track",
            "event": {"purchase": "Order Completed", "refund": "Order Refunded"}[kind],
            "messageId": "e",
            "userId": "ann",
            "timestamp": AT,
            "properties": {"order_id": "o", "revenue": value, "products": named("product_id")},
        },
        "posthog": {
            "event": {"purchase": "Order Completed", "refund": "Order Refunded"}[kind],
            "uuid": "e",
            "distinct_id": "ann",
            "timestamp": AT,
            "properties": {"order_id": "o", "revenue": value, "products": named("product_id")},
        },
        "ga4": {
            "client_id": "c",
            "user_id": "ann",
            "timestamp_micros": AT_MS * 1000,
            "events": [
                {
                    "name": kind,
                    "params": {"transaction_id": "o", "value": value, "items": named("item_id")},
                }
            ],
        },
        "ga4-bigquery": {
            "event_name": kind,
            "event_timestamp": str(AT_MS * 1000),
            "user_id": "ann",
            "ecommerce": {
                "transaction_id": "o",
                "purchase_revenue" if kind == "purchase" else "refund_value": value,
            },
            "items": named("item_id"),
        },
        "snowplow": {
            "event": "unstruct",
            "event_id": "e",
            "user_id": "ann",
            "collector_tstamp": "2026-03-01 10:00:00 UTC",
            f"unstruct_event_{vendor}_snowplow_ecommerce_action_1": {
                "type": {"purchase": "transaction", "refund": "refund"}[kind]
            },
            f"contexts_{vendor}_product_1": named("id"),
            f"contexts_{vendor}_transaction_1": [{"transaction_id": "o", "revenue": value}],
            f"contexts_{vendor}_refund_1": [{"transaction_id": "o", "refund_amount": value}],
        },
    }[sender]
    return {**record, **more}


SENDERS = ("penstock", "segment", "posthog", "ga4", "ga4-bigquery", "snowplow")
MUG = {"id": "mug", "price": 20, "quantity": 2}

KEPT: list[tuple[str, Any, Any, list[tuple[str, Any]], Any]] = [
    # what it is, its lines, its stated value, the items that count, the value that counts
    ("a null line", [None, MUG], 40, [("mug", 2)], 40),
    ("a line of text", ["mug", MUG], 40, [("mug", 2)], 40),
    ("a line without an id", [{"price": 5}, MUG], 45, [("mug", 2)], 45),
    ("a line with an empty id", [{"id": " ", "price": 5}, MUG], 45, [("mug", 2)], 45),
    ("an id too long", [{"id": "x" * 200, "price": 5}, MUG], 45, [("mug", 2)], 45),
    ("a discount", [MUG, {"id": "SAVE", "price": -10}], 30, [("mug", 2)], 30),
    ("a discount and no value", [MUG, {"id": "SAVE", "price": -10}], None, [("mug", 2)], 30),
    ("a discount of all", [MUG, {"id": "SAVE", "price": -50}], None, [("mug", 2)], 0),
    (
        "a piece given back",
        [MUG, {"id": "cup", "price": 5, "quantity": -1}],
        None,
        [("mug", 2)],
        35,
    ),
    ("a gift of nothing", [MUG, {"id": "cup", "price": 0, "quantity": 0}], 40, [("mug", 2)], 40),
    (
        "goods by weight",
        [{"id": "brie", "price": 18, "quantity": 0.35}],
        None,
        [("brie", 0.35)],
        None,
    ),
    (
        "weight as text",
        [{"id": "brie", "price": 18, "quantity": "0,35"}],
        None,
        [("brie", 0.35)],
        None,
    ),
    (
        "pieces with a point",
        [{"id": "mug", "price": 20, "quantity": 2.0}],
        None,
        [("mug", 2)],
        None,
    ),
    ("pieces of no number", [{**MUG, "quantity": "some"}], 40, [("mug", 1)], 40),
    ("too many pieces", [{**MUG, "quantity": 10**12}], 40, [("mug", 1)], 40),
    ("a price of no number", [{**MUG, "price": "?"}], 40, [("mug", 2)], 40),
    ("a price of PHP's nothing", [{**MUG, "price": False}], 40, [("mug", 2)], 40),
    ("thousands in a price", [{**MUG, "price": "1,020.50"}], 2041, [("mug", 2)], 2041),
    ("ids that are numbers", [{**MUG, "id": 7}, {**MUG, "id": 8.0}], 80, [("7", 2), ("8", 2)], 80),
    ("a category that is none", [{**MUG, "category": {"a": 1}}], 40, [("mug", 2)], 40),
    ("a place that is none", [{**MUG, "position": "first"}], 40, [("mug", 2)], 40),
    ("one line and no array", MUG, 40, [("mug", 2)], 40),
    ("no lines but text", "mug", 40, [], 40),
    ("a value below nothing", [MUG], -3, [("mug", 2)], 0),
    ("a value with thousands", [MUG], "1.234,50 €", [("mug", 2)], 1234.5),
    ("a value as a German writes it", [MUG], "40,00", [("mug", 2)], 40),
]


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(
    ("lines", "value", "items", "worth"),
    [one[1:] for one in KEPT],
    ids=[one[0] for one in KEPT],
)
def test_an_order_is_never_lost_for_a_side_detail(
    sender: str, lines: Any, value: Any, items: list[tuple[str, Any]], worth: Any
) -> None:
    (found,) = read(sender, order(sender, lines, value=value))
    assert isinstance(found, Event), found
    assert [(item.item_id, item.quantity) for item in found.items] == items
    assert found.value == worth


REFUNDS: list[tuple[Any, Any, Any]] = [([MUG], -40, 40), ([MUG], "-40.00", 40), ([], -12.5, 12.5)]


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(("lines", "value", "worth"), REFUNDS)
def test_a_refund_with_a_negative_amount_is_a_refund(
    sender: str, lines: Any, value: Any, worth: float
) -> None:
    (found,) = read(sender, order(sender, lines, value=value, kind="refund"))
    assert isinstance(found, Event), found
    assert found.value == worth


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("value", ["1,234", "1.234.5", "much", "1e9999", True, [3], 1e13])
def test_an_ambiguous_value_of_an_order_is_not_read(sender: str, value: Any) -> None:
    (found,) = read(sender, order(sender, [MUG], value=value))
    assert isinstance(found, DeadLetter), found
    assert found.failure_type == "bad_money"


@pytest.mark.parametrize("sender", SENDERS)
def test_prices_are_needed_in_an_order_without_a_value(sender: str) -> None:
    for line in ({**MUG, "price": "1,234"}, {**MUG, "quantity": "some"}):
        (found,) = read(sender, order(sender, [line], value=None))
        assert isinstance(found, DeadLetter), found
        assert found.failure_type in ("bad_money", "schema_violation")


@pytest.mark.parametrize("sender", SENDERS)
def test_items_beyond_the_limit_are_dropped_but_the_value_of_the_order_stays(sender: str) -> None:
    lines = [{"id": f"i{n}", "price": 0.1, "quantity": 3} for n in range(30)]
    for value, worth in ((None, 9.0), (8.5, 8.5)):
        (found,) = read(sender, order(sender, lines, value=value), limits=Limits(event_items_max=7))
        assert isinstance(found, Event)
        assert [item.item_id for item in found.items] == [f"i{n}" for n in range(7)]
        assert found.value == worth
        assert found.left_out == ("items beyond the limit",)


@pytest.mark.parametrize("sender", SENDERS)
def test_records_that_are_almost_json_are_read(sender: str) -> None:
    line = {**MUG, "price": float("nan"), "name": "half \ud83d", "brand": 7.5}
    raw = json.dumps(order(sender, [line], value=40)).encode()
    for mark in (b"", b"\xef\xbb\xbf"):
        (found,) = read(sender, mark + raw)
        assert isinstance(found, Event), found
        assert found.value == 40
        if sender not in ("ga4", "ga4-bigquery"):
            assert (found.items[0].name, found.items[0].brand) == ("half \ufffd", "7.5")


def test_the_value_of_goods_by_weight_is_exact(redis_url: str, tmp_path: Path) -> None:
    brie = {"id": "brie", "price": 18, "quantity": 0.35}
    path = tmp_path / "log"
    path.write_text(json.dumps(order("penstock", [brie, MUG])))
    replay(path, "penstock", redis_url, tmp_path)
    like = {"ann": {"revenue": "46.30", "units": "3"}}
    assert profiles(redis_url, like) == like
