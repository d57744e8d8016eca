"""Decoding: every bad input has its failure type, path and message; every valid one is decoded."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.events.decode import RecordPosition, decode, decode_lines, stable_event_id
from operators.events.violations import find_violations
from state.dead_letters import FAILURE_TYPES, DeadLetter, FieldError
from state.events import Event, EventType, Item, Reco

NOW_MS = 1_700_000_000_000
DAY_MS = 24 * 3600 * 1000
AT_MS = NOW_MS - 1000


def read(raw: bytes) -> Event | DeadLetter:
    return decode(raw, RecordPosition("clicks", "3", 7), now_ms=NOW_MS)


def record(**changes: Any) -> bytes:
    """A good item view with these fields changed; `...` leaves one out."""
    fields = {
        "event_id": "e1",
        "type": "item_view",
        "event_ts": AT_MS,
        "user_id": "ann",
        "items": [{"item_id": "mug"}],
    } | changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


def test_a_small_event_gets_its_defaults() -> None:
    assert read(record()) == Event(
        event_id="e1",
        type="item_view",
        event_ts=AT_MS,
        received_ts=AT_MS,
        user_id="ann",
        items=(Item("mug"),),
    )


def test_a_dead_letter_has_reasons_and_the_position_of_the_record() -> None:
    raw = record(items=[{"item_id": "mug", "price": -1}])
    assert read(raw) == DeadLetter(
        failure_type="bad_money",
        errors=(FieldError("$.items[0].price", "-1 is not between 0 and 1000000000000"),),
        source="clicks",
        partition="3",
        offset=7,
        raw=raw.decode(),
        at=AT_MS,
    )


BAD: list[tuple[bytes, str, str, str]] = [
    (b"", "not_json", "$", "Expecting value"),
    (record()[:-1], "not_json", "$", "Expecting ',' delimiter"),
    (record() + b"x", "not_json", "$", "Extra data"),
    (record(user_id="\xff").replace(b"\\u00ff", b"\xff"), "not_json", "$", "not UTF-8 at byte"),
    (record(note="?").replace(b"?", b"\xff"), "not_json", "$", "not UTF-8 at byte"),
    (record(event_id="?").replace(b"?", b"\\ud800"), "not_json", "$", "surrogate"),
    (record(props="?").replace(b'"?"', b"[" * 99 + b"]" * 99), "not_json", "$", "nested more"),
    (record(x="?").replace(b'"?"', b"[" * 30000 + b"]" * 30000), "not_json", "$", "nested more"),
    (b"[" * 60000, "not_json", "$", "nested more"),
    (record(note="x" * 2**20), "too_large", "$", "at most 1048576"),
    (b"\xff" * (2**20 + 1), "too_large", "$", "at most 1048576"),
    (record(props={"x": "y" * 32768}), "too_large", "$.props", "at most 32768"),
    (b"null", "schema_violation", "$", "expected an object"),
    (b"[1]", "schema_violation", "$", "expected an object"),
    (record(type=...), "schema_violation", "$", "missing required field `type`"),
    (record(type=5), "schema_violation", "$.type", "Expected `str`, got `int`"),
    (record(event_id=...), "schema_violation", "$", "missing required field `event_id`"),
    (record(event_id=" "), "schema_violation", "$.event_id", "blank"),
    (record(event_id="x" * 101), "schema_violation", "$.event_id", "length <= 100"),
    (record(event_ts=...), "schema_violation", "$", "missing required field `event_ts`"),
    (record(user_id=12), "schema_violation", "$.user_id", "Expected `str | null`, got `int`"),
    (record(user_id="x" * 129), "schema_violation", "$.user_id", "length <= 128"),
    (record(items=[]), "schema_violation", "$.items", "needs at least one item"),
    (record(items=...), "schema_violation", "$.items", "needs at least one item"),
    (record(items="mug"), "schema_violation", "$.items", "Expected `array`, got `str`"),
    (record(items=[{}]), "schema_violation", "$.items[0]", "missing required field `item_id`"),
    (record(items=[{"item_id": " "}]), "schema_violation", "$.items[0].item_id", "blank"),
    (record(items=[{"item_id": 5}]), "schema_violation", "$.items[0].item_id", "got `int`"),
    (
        record(items=[{"item_id": "a", "quantity": 0}]),
        "schema_violation",
        "$.items[0].quantity",
        ">= 1",
    ),
    (record(type="purchased"), "unknown_type", "$.type", "unknown event type 'purchased'"),
    (record(user_id=...), "no_identity", "$", "neither user_id nor anonymous_id"),
    (record(user_id=None), "no_identity", "$", "neither user_id nor anonymous_id"),
    (record(user_id=" "), "blocked_id", "$.user_id", "' ' identifies no shopper"),
    (record(event_ts=0), "bad_timestamp", "$.event_ts", "before 2000"),
    (record(event_ts=AT_MS // 1000), "bad_timestamp", "$.event_ts", "before 2000"),
    (record(event_ts=NOW_MS + DAY_MS + 1), "bad_timestamp", "$.event_ts", "24 h ahead"),
    (record(event_ts=10**40), "bad_timestamp", "$.event_ts", "24 h ahead"),
    (record(event_ts=True), "bad_timestamp", "$.event_ts", "got a boolean"),
    (record(event_ts=1.5e12), "bad_timestamp", "$.event_ts", "got a decimal"),
    (record(event_ts="2023-11-14"), "bad_timestamp", "$.event_ts", "got text"),
    (record(event_ts=None), "bad_timestamp", "$.event_ts", "got null"),
    (record(received_ts=5), "bad_timestamp", "$.received_ts", "before 2000"),
    (record(received_ts="now"), "bad_timestamp", "$.received_ts", "got text"),
    (record(value=-0.01), "bad_money", "$.value", "-0.01 is not between 0"),
    (record(value=1e13), "bad_money", "$.value", "is not between 0"),
    (record(value="12.50"), "bad_money", "$.value", "expected a number, got text"),
    (record(value=True), "bad_money", "$.value", "expected a number, got a boolean"),
    (record(value=float("nan")), "bad_money", "$.value", "nan is not between 0"),
    (record(value="?").replace(b'"?"', b"1e999"), "bad_money", "$.value", "inf is not between"),
    (
        record(items=[{"item_id": "a", "price": "$5"}]),
        "bad_money",
        "$.items[0].price",
        "expected a number, got text",
    ),
    (record(type="purchase"), "empty_order_id", "$.order_id", "a purchase needs an order_id"),
    (record(type="refund", order_id=" "), "empty_order_id", "$.order_id", "a refund needs"),
    (record(order_id="x" * 129), "schema_violation", "$.order_id", "length <= 128"),
]


@pytest.mark.parametrize(("raw", "failure_type", "path", "words"), BAD)
def test_bad_input_has_its_failure_type_path_and_message(
    raw: bytes, failure_type: str, path: str, words: str
) -> None:
    letter = read(raw)
    assert isinstance(letter, DeadLetter)
    assert (letter.failure_type, letter.errors[0].path) == (failure_type, path)
    assert words in letter.errors[0].message


def test_every_failure_type_but_processing_errors_is_in_the_table() -> None:
    assert {failure for _, failure, _, _ in BAD} == set(FAILURE_TYPES) - {"processing_error"}


@pytest.mark.parametrize(
    "nobody",
    [
        "",
        " ",
        "null",
        "None",
        "UNDEFINED",
        "anonymous",
        "guest",
        "0",
        "00000000-0000-0000",
        "-1",
        "NaN",
        "nil",
        "unknown",
        "true",
        "False",
        "[object Object]",
        " null ",
        "distinct_id",
    ],
)
def test_a_blocked_id_alone_is_rejected_and_beside_a_valid_id_is_dropped(nobody: str) -> None:
    letter = read(record(user_id=nobody))
    assert isinstance(letter, DeadLetter)
    assert letter.failure_type == "blocked_id"
    event = read(record(user_id=nobody, anonymous_id="v1"))
    assert isinstance(event, Event)
    assert (event.user_id, event.anonymous_id) == (None, "v1")


@pytest.mark.parametrize(
    "odd",
    ["a b", "a:b{c}%", "ann@example.org", "🦊🦊", "x" * 128, "0-1", "nullable", "é"],
)
def test_unusual_ids_are_valid(odd: str) -> None:
    event = read(record(user_id=odd, items=[{"item_id": odd}]))
    assert isinstance(event, Event)
    assert (event.user_id, event.items[0].item_id) == (odd, odd)


def test_ids_are_trimmed() -> None:
    event = read(
        record(event_id=" e ", user_id=" u\n", anonymous_id="\ta", items=[{"item_id": " i "}])
    )
    assert isinstance(event, Event)
    assert (event.event_id, event.user_id, event.anonymous_id) == ("e", "u", "a")
    assert event.items[0].item_id == "i"


def test_a_time_ahead_of_its_arrival_is_clamped_to_five_minutes() -> None:
    event = read(record(event_ts=AT_MS + 90 * DAY_MS, received_ts=AT_MS))
    assert isinstance(event, Event)
    assert (event.event_ts, event.received_ts) == (AT_MS + 300_000, AT_MS)


def test_a_time_ahead_of_now_is_clamped_too_without_a_time_of_receipt() -> None:
    ahead = read(record(event_ts=NOW_MS + 3_600_000))
    assert isinstance(ahead, Event)
    assert (ahead.received_ts, ahead.event_ts) == (NOW_MS, NOW_MS + 300_000)


def test_unknown_fields_are_ignored_and_props_pass_through() -> None:
    event = read(record(colour="red", props={"a": [1, {"b": None}]}))
    assert isinstance(event, Event)
    assert json.loads(bytes(event.props)) == {"a": [1, {"b": None}]}


def test_99_levels_are_read_and_brackets_in_text_do_not_count() -> None:
    deep = record(x="?").replace(b'"?"', b"[" * 98 + b"]" * 98)
    assert isinstance(read(deep), Event)
    assert isinstance(read(record(x='\\"[{' * 500)), Event)


def test_an_order_may_come_without_items_and_a_list_too() -> None:
    for raw in (record(type="purchase", order_id="o", items=[]), record(type="search", items=[])):
        assert isinstance(read(raw), Event)


def test_input_that_is_not_text_is_kept_as_base64() -> None:
    letter = read(b"\xff\xfe")
    assert isinstance(letter, DeadLetter)
    assert (letter.raw, letter.base64) == ("//4=", True)


def test_lines_are_decoded_lazily_and_each_has_its_offset() -> None:
    def endless() -> Any:
        while True:
            yield b"?"

    results = decode_lines(endless(), source="s", partition="0", first_offset=41, now_ms=NOW_MS)
    letters = [next(results), next(results)]
    assert [r.offset for r in letters if isinstance(r, DeadLetter)] == [41, 42]


def test_event_ids_differ_where_fields_do() -> None:
    ids = [stable_event_id(*fields) for fields in (("s", "ab"), ("s", "a", "b"), ("sa", "b"))]
    assert len(set(ids)) == 3
    assert stable_event_id("s", "ab") == stable_event_id("s", b"ab") == ids[0]


safe_ids = st.text(max_size=99).map(lambda text: f"k{text.rstrip()}")
money = st.none() | st.floats(0, 1e9)
items = st.builds(
    Item,
    safe_ids,
    category=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    price=money,
    quantity=st.integers(1, 99),
    name=st.none() | st.text(max_size=9),
)
times_ms = st.integers(NOW_MS - 10**10, NOW_MS)


@st.composite
def events(draw: st.DrawFn) -> Event:
    at_ms = draw(times_ms)
    return Event(
        event_id=draw(safe_ids),
        type=draw(st.sampled_from(get_args(EventType))),
        event_ts=at_ms,
        received_ts=draw(st.sampled_from([at_ms, at_ms + 5, at_ms + DAY_MS])),
        anonymous_id=draw(st.none() | safe_ids),
        user_id=draw(safe_ids),
        items=tuple(draw(st.lists(items, min_size=1, max_size=3))),
        order_id=draw(safe_ids),
        value=draw(money),
        reco=draw(st.none() | st.builds(Reco, slot=st.text(max_size=5), position=st.just(3))),
        props=draw(st.sampled_from([msgspec.Raw(b"{}"), msgspec.Raw(b'{"a":[1,"b"]}')])),
    )


@given(events())
def test_decode_of_encode_is_the_event(event: Event) -> None:
    assert read(msgspec.json.encode(event)) == event


values: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1,
        1.5,
        10**40,
        float("nan"),
        "",
        " ",
        "null",
        "x",
        AT_MS,
        [],
        {},
        [{}],
        ["a"],
        [{"item_id": ""}],
        [{"item_id": "a", "price": -1}],
        "purchase",
        "search",
        "x" * 200,
    ]
)


@given(events(), st.dictionaries(st.sampled_from(sorted(Event.__struct_fields__)), values))
def test_a_mutated_event_is_valid_or_explained(event: Event, changes: dict[str, Any]) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(event)) | changes
    result = read(json.dumps(fields).encode())
    if isinstance(result, DeadLetter):
        assert result.failure_type != "processing_error", result.errors
    else:
        assert find_violations(fields, NOW_MS) == []


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(read(raw), DeadLetter)


@given(events(), st.integers(0, 400), st.binary(min_size=1, max_size=3))
@settings(max_examples=200)
def test_damaged_bytes_are_valid_or_explained(event: Event, at: int, splinter: bytes) -> None:
    good = msgspec.json.encode(event)
    result = read(good[:at] + splinter + good[at + len(splinter) :])
    assert isinstance(result, Event) or result.failure_type != "processing_error", result
