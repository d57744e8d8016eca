"""Each format of logs: small logs with their whole output, and the counts of real ones."""

from __future__ import annotations

import gzip
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from operators.readers.registry import READERS, RECORD_READERS, UNSORTED_FORMATS
from state.dead_letters import DeadLetter
from state.errors import DataError
from state.events import Event, Item
from state.limits import Limits
from tests.shared import shared_data

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_MS = 1_790_000_000_000
REES46 = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
)
RETAILROCKET = "timestamp,visitorid,event,itemid,transactionid"
YOOCHOOSE = "SessionId\tItemId\tTime"
ONLINE_RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
HEADERS = {
    "rees46": REES46,
    "retailrocket": RETAILROCKET,
    "yoochoose": YOOCHOOSE,
    "online-retail": ONLINE_RETAIL,
}


def read(format_name: str, *rows: str | bytes) -> list[Event | DeadLetter]:
    lines = [row.encode() if isinstance(row, str) else row for row in rows]
    return list(READERS[format_name](lines, source="log", now_ms=NOW_MS))


def events(records: list[Event | DeadLetter]) -> list[Event]:
    return [record for record in records if isinstance(record, Event)]


def faults(records: list[Event | DeadLetter]) -> list[tuple[int, str, str, str]]:
    return [
        (letter.offset, letter.failure_type, letter.errors[0].path, letter.errors[0].message)
        for letter in records
        if isinstance(letter, DeadLetter)
    ]


def shape(event: Event) -> tuple[object, ...]:
    shopper = event.user_id or event.anonymous_id
    bought = [(item.item_id, item.price, item.quantity) for item in event.items]
    return event.type, event.event_ts, shopper, bought, event.order_id, event.value


def test_penstock_lines_become_canonical_events_or_dead_letters() -> None:
    good = '{"event_id":"1","type":"page_view","event_ts":1600000000000,"user_id":"ann"}'
    assert read("penstock", good, "", "?") == [
        Event("1", "page_view", 1600000000000, 1600000000000, user_id="ann"),
        *read("penstock", good, "", "?")[1:],
    ]
    assert faults(read("penstock", good, "", "?")) == [
        (2, "not_json", "$", "Expecting value: line 1 column 1 (char 0)"),
        (3, "not_json", "$", "Expecting value: line 1 column 1 (char 0)"),
    ]


def test_a_rees46_row_becomes_one_event() -> None:
    (event,) = read(
        "rees46",
        REES46,
        "2019-10-01 00:00:01 UTC,view,17200506,2053,furniture.living_room.sofa,ikea,543.10,51,s-1",
    )
    assert event == Event(
        event_id="7151c486aa3c67c5a12bc95086835da1",
        type="item_view",
        event_ts=1569888001000,
        received_ts=1569888001000,
        user_id="51",
        items=(
            Item(
                "17200506", category=("furniture", "living_room", "sofa"), brand="ikea", price=543.1
            ),
        ),
    )


def test_rees46_purchases_of_one_session_in_one_second_are_one_order() -> None:
    at, later = "2019-10-01 00:00:00 UTC", "2019-10-01 00:00:01 UTC"
    records = read(
        "rees46",
        REES46,
        f"{at},purchase,a,1,,,2.50,51,s-1",
        f"{at},view,c,1,,,1.00,52,s-2",
        f"{at},purchase,b,1,,,0.30,51,s-1",
        f"{later},purchase,a,1,,,2.50,51,s-1",
        f"{later},remove_from_cart,a,1,,,-3.00,53,s-3",
        f"{later},cart,a,1,,,,53,",
        f"{later},cart,a,1,,,1",
    )
    ms = 1569888000000
    assert [shape(event) for event in events(records)] == [
        ("item_view", ms, "52", [("c", 1.0, 1)], None, None),
        ("purchase", ms, "51", [("a", 2.5, 1), ("b", 0.3, 1)], f"s-1:{ms}", 2.8),
        ("cart_add", ms + 1000, "53", [("a", None, 1)], None, None),
        ("purchase", ms + 1000, "51", [("a", 2.5, 1)], f"s-1:{ms + 1000}", 2.5),
    ]
    assert faults(records) == [
        (6, "bad_money", "$.items[0].price", "-3.0 is not between 0 and 1000000000000"),
        (8, "schema_violation", "$", "expected 9 columns, found 7"),
    ]


def test_retailrocket_rows_of_one_transaction_are_one_purchase() -> None:
    records = read(
        "retailrocket",
        RETAILROCKET,
        "1433221332117,0,view,355908,",
        "1433221332200,7,transaction,1,900",
        "1433221330000,8,addtocart,3,",
        "1433221332100,7,transaction,2,900",
        "1433221332300,8,transaction,2,900",
        "soon,8,view,3,",
        "1433221332300,8,eaten,2,",
        "1433221332300,8,transaction,2,",
        "1433221332300,,view,2,",
    )
    assert [shape(event) for event in events(records)] == [
        ("item_view", 1433221332117, "v0", [("355908", None, 1)], None, None),
        ("cart_add", 1433221330000, "v8", [("3", None, 1)], None, None),
        ("purchase", 1433221332100, "v7", [("1", None, 1), ("2", None, 1)], "900", None),
        ("purchase", 1433221332300, "v8", [("2", None, 1)], "900", None),
    ]
    assert faults(records) == [
        (7, "bad_timestamp", "timestamp", "not a number: 'soon'"),
        (8, "schema_violation", "$", "KeyError: 'eaten'"),
        (9, "empty_order_id", "$.order_id", "a purchase needs an order_id"),
        (10, "no_identity", "$", "neither user_id nor anonymous_id"),
    ]


def test_yoochoose_is_read_as_prepared_and_as_published() -> None:
    prepared = read("yoochoose", YOOCHOOSE, "3\t214716935\t1396437466.94", "3\t2148\tlate")
    published = read("yoochoose", "3,2014-04-02T11:17:46.940Z,214716935,S", "3,late,2148,0")
    click = ("item_view", 1396437466940, "3", [("214716935", None, 1)], None, None)
    assert [shape(event) for event in events(prepared)] == [click]
    assert [shape(event) for event in events(published)] == [click]
    assert faults(prepared) == [(3, "bad_timestamp", "Time", "not a number: 'late'")]
    assert faults(published) == [
        (2, "bad_timestamp", "Timestamp", "not a date and time: 'late'"),
    ]


def test_online_retail_invoices_are_purchases_and_cancellations_refunds() -> None:
    at = "2010-12-01 08:26:00"
    records = read(
        "online-retail",
        ONLINE_RETAIL,
        f'536365,85123A,"HEART, ""WHITE"" ",6,{at},2.55,17850.0,EIRE',
        f"536365,71053,LANTERN,2,{at},3.39,17850.0,EIRE",
        f"536366,71053,GIFT,1,{at},0.0,17851,EIRE",
        "536365,71053,LANTERN,1,2010-12-01 08:27:00,3.39,17850.0,EIRE",
        "C536367,71053,LANTERN,-2,12/1/2010 8:28,3.39,17850.0,EIRE",
        f"536368,71053,LANTERN,2,{at},3.39,,EIRE",
        f"536368,71053,LANTERN,-2,{at},3.39,17850.0,EIRE",
        f"C536368,71053,LANTERN,2,{at},3.39,17850.0,EIRE",
        f"536368,71053,LANTERN,2,{at},-3.39,17850.0,EIRE",
        f"536368,71053,LANTERN,two,{at},3.39,17850.0,EIRE",
    )
    ms = 1291191960000
    assert [shape(event) for event in events(records)] == [
        (
            "purchase",
            ms,
            "17850",
            [("85123A", 2.55, 6), ("71053", 3.39, 2), ("71053", 3.39, 1)],
            "536365",
            25.47,
        ),
        ("purchase", ms, "17851", [("71053", 0.0, 1)], "536366", 0.0),
        ("refund", ms + 120_000, "17850", [("71053", 3.39, 2)], "C536367", 6.78),
    ]
    assert events(records)[0].items[0].name == 'HEART, "WHITE"'
    assert faults(records) == [
        (7, "no_identity", "CustomerID", "empty"),
        (8, "schema_violation", "Quantity", "-2 in a sale"),
        (9, "schema_violation", "Quantity", "2 in a cancellation"),
        (10, "bad_money", "$.items[0].price", "-3.39 is not between 0 and 1000000000000"),
        (
            11,
            "schema_violation",
            "$",
            "ValueError: invalid literal for int() with base 10: 'two'",
        ),
    ]


def test_the_second_online_retail_and_its_latin_1_are_read() -> None:
    (event,) = read(
        "online-retail",
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
        b"1,2,CAF\xc9,1,2010-12-01 08:26:00,1.5,7.0,EIRE",
    )
    assert isinstance(event, Event)
    assert event.items == (Item("2", name="CAFÉ", price=1.5),)


@pytest.mark.parametrize("format_name", sorted(HEADERS))
@pytest.mark.parametrize("first", ["", "a,b,c", '{"event_id":"1"}', "\x1f\x8b"])
def test_lines_of_another_format_are_an_error_that_names_both_headers(
    format_name: str, first: str
) -> None:
    with pytest.raises(DataError) as error:
        read(format_name, first)
    message = str(error.value)
    assert repr(HEADERS[format_name]) in message
    assert repr(first) in message
    assert "\n" not in message


def test_a_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    rows = (b"\xef\xbb\xbf" + RETAILROCKET.encode() + b"\r\n", b"1433221332117,1,view,3,\r\n")
    assert [shape(event)[3] for event in events(read("retailrocket", *rows))] == [[("3", None, 1)]]


ROWS = {
    "rees46": "2019-10-01 00:00:01 UTC,view,1,2,,,1,51,s",
    "retailrocket": "1433221332117,1,view,3,",
    "yoochoose": "3\t214716935\t1396437466.94",
    "online-retail": "1,2,NAME,1,2010-12-01 08:26:00,1.5,7,EIRE",
}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("format_name", sorted(HEADERS))
def test_a_header_may_have_a_byte_order_mark_and_quotes(format_name: str, mark: bytes) -> None:
    header, row = HEADERS[format_name], ROWS[format_name]
    delimiter = "\t" if "\t" in header else ","
    quoted = delimiter.join(f'"{name}"' for name in header.split(delimiter))
    values = delimiter.join(f'"{value}"' for value in row.split(delimiter))
    plain = events(read(format_name, header, row))
    assert len(plain) == 1
    for names in (header, quoted, quoted.upper()):
        found = read(format_name, mark + names.encode() + b"\r\n", values.encode() + b"\r\n")
        assert [shape(event) for event in events(found)] == [shape(event) for event in plain]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_headers_of_online_retail_ii_and_published_yoochoose_may_have_them_too(mark: bytes) -> None:
    names = ONLINE_RETAIL.replace("InvoiceNo", "Invoice").replace("UnitPrice", "Price")
    second = ",".join(f'"{name}"' for name in names.replace("CustomerID", "Customer ID").split(","))
    assert len(events(read("online-retail", mark + second.encode(), ROWS["online-retail"]))) == 1
    row = "3,2014-04-02T11:17:46.940Z,214716935,0"
    for first in (row, f'"{row.replace(",", chr(34) + "," + chr(34))}"'):
        found = events(read("yoochoose", mark + first.encode(), row))
        assert [event.anonymous_id for event in found] == ["3", "3"]
    titled = read("yoochoose", mark + b"SessionId,Timestamp,ItemId,Category", row)
    assert [event.anonymous_id for event in events(titled)] == ["3"]


def test_a_table_may_have_weights_and_thousands_separators() -> None:
    at = "2010-12-01 08:26:00"
    rows = (f'1,2,BRIE,0.35,{at},"1,018.00",7,EIRE', f'2,2,BRIE,1,{at},"1,018",7,EIRE')
    records = read("online-retail", ONLINE_RETAIL, *rows)
    assert [shape(event)[3:] for event in events(records)] == [
        ([("2", 1018.0, 0.35)], "1", 356.3),
    ]
    assert faults(records) == [(3, "bad_money", "UnitPrice", "not a number: '1,018'")]


def test_equal_rows_are_different_events_and_a_replay_gives_the_same_ids() -> None:
    log = (RETAILROCKET, *["1433221332117,1,view,3,"] * 3, "1433221332117,1,view,4,")
    first, again = events(read("retailrocket", *log)), events(read("retailrocket", *log))
    assert len({event.event_id for event in first}) == 4
    assert first == again


def test_a_quoted_field_may_span_lines() -> None:
    at = "2010-12-01 08:26:00"
    records = read(
        "online-retail",
        ONLINE_RETAIL,
        '1,2,"TWO',
        f'LINES",1,{at},1.5,7,EIRE',
        f"1,3,,0,{at},1.5,7,EIRE",
    )
    assert [event.items for event in events(records)] == [
        (Item("2", name="TWO LINES", price=1.5),),
    ]
    assert faults(records) == [(4, "schema_violation", "Quantity", "0 in a sale")]


@pytest.mark.parametrize("gap", [0, 5000])
def test_a_stray_quote_costs_its_own_row_only(gap: int) -> None:
    row = "1433221332117,1,view,3,"
    records = read("retailrocket", RETAILROCKET, '1433221332117,1,view,"3,', *[row] * gap, row)
    assert len(events(records)) == gap + 1
    assert [fault[:2] for fault in faults(records)] == [(2, "schema_violation")]


def test_rows_that_are_too_long_or_not_text_become_dead_letters() -> None:
    records = read("retailrocket", RETAILROCKET, "x" * (2**20 + 1), b"\xff,1,view,3,", "")
    assert faults(records) == [
        (2, "too_large", "$", "a row of more than 1048576 bytes"),
        (3, "schema_violation", "$", "not UTF-8: invalid start byte"),
        (4, "schema_violation", "$", "expected 5 columns, found 1"),
    ]


@pytest.mark.parametrize("format_name", sorted(READERS))
def test_readers_are_lazy(format_name: str) -> None:
    samples = {
        **dict.fromkeys(RECORD_READERS, "?"),
        "rees46": "2019-10-01 00:00:01 UTC,view,1,2,,,1,{n},s",
        "retailrocket": "1433221332117,{n},view,3,",
        "yoochoose": "{n}\t214716935\t1396437466.94",
        "online-retail": "{n},2,NAME,1,2010-12-01 08:26:00,1.5,,EIRE",
    }

    def endless() -> Iterator[bytes]:
        if format_name in HEADERS:
            yield HEADERS[format_name].encode()
        n = 1
        while True:
            yield samples[format_name].format(n=n).encode()
            n += 1

    records = READERS[format_name](endless(), source="log", now_ms=NOW_MS)
    assert len(list(islice(records, 100))) == 100


def test_rows_of_an_order_that_are_in_the_log_twice_are_joined_once() -> None:
    order = [f"143322133211{item},7,transaction,{item},900" for item in range(3)]
    between = [f"1433221332117,{visitor},view,1," for visitor in range(1, 17_001)]
    found = events(read("retailrocket", RETAILROCKET, *order, *between, *order))
    bought = [[item.item_id for item in event.items] for event in found if event.order_id]
    assert bought == [["0"], ["1"], ["2"], ["0", "1", "2"]]


def test_an_endless_order_is_cut_before_it_fills_the_memory() -> None:
    row = b"1433221332117,7,transaction,1,900"

    def endless() -> Iterator[bytes]:
        yield RETAILROCKET.encode()
        while True:
            yield row

    limits = Limits(event_items_max=20_000)
    first = next(READERS["retailrocket"](endless(), source="log", now_ms=NOW_MS, limits=limits))
    assert isinstance(first, Event)
    assert len(first.items) == 10_000


def real(format_name: str, name: str) -> list[Event | DeadLetter]:
    limits = Limits(event_items_max=20_000)
    with gzip.open(shared_data(name)) as lines:
        return list(READERS[format_name](lines, source=name, now_ms=NOW_MS, limits=limits))


def rows(records: list[Event | DeadLetter]) -> int:
    """The number of rows of a log with one item a row: each is an item of an event or a dead letter."""
    return sum(len(record.items) if isinstance(record, Event) else 1 for record in records)


def test_the_real_rees46_log() -> None:
    records = real("rees46", "rees46_2019-10-01.csv.gz")
    found = events(records)
    assert rows(records) == 17_434 + 1
    assert Counter(event.type for event in found) == {
        "item_view": 17_055,
        "purchase": 214,
        "cart_add": 165,
    }
    assert len({event.user_id for event in found}) == 4_504
    assert len({item.item_id for event in found for item in event.items}) == 6_493
    assert len({event.event_id for event in found}) == 17_434
    assert faults(records) == [(17_436, "schema_violation", "$", "expected 9 columns, found 8")]


def test_the_real_online_retail_log() -> None:
    records = real("online-retail", "online_retail_2010-12_2011-07.csv.gz")
    found = events(records)
    assert rows(records) == 285_421
    assert Counter(event.type for event in found) == {"purchase": 10_134, "refund": 2_164}
    assert len({event.order_id for event in found}) == len(found)
    assert Counter(fault[1] for fault in faults(records)) == {"no_identity": 81_030}
    assert len({event.user_id for event in found}) == 3_193


@pytest.mark.parametrize(
    ("part", "clicks", "sessions"),
    [("train", 53_254, 13_629), ("valid", 16_539, 4_084), ("test", 13_568, 3_416)],
)
def test_the_real_yoochoose_week(part: str, clicks: int, sessions: int) -> None:
    records = real("yoochoose", f"yoochoose_week/{part}.tsv.gz")
    assert len(events(records)) == len(records) == clicks
    assert len({event.anonymous_id for event in events(records)}) == sessions


def test_unsorted_formats_are_formats() -> None:
    assert set(READERS) > UNSORTED_FORMATS


DOCS = (Path(__file__).parents[3] / "docs/formats.md").read_text()


@pytest.mark.parametrize("format_name", sorted(READERS))
def test_every_format_is_in_the_docs(format_name: str) -> None:
    assert f"| `{format_name}` |" in DOCS


def test_the_example_reader_of_the_docs_works() -> None:
    example: dict[str, Any] = {}
    exec(DOCS.split("```python\n")[1].split("```")[0], example)
    lines = [b"when;who;what", b"1600000000;ann;mocha", b"1600000000;ann"]
    records = list(example["read"](lines, source="log", now_ms=NOW_MS))
    assert [shape(event) for event in events(records)] == [
        ("item_view", 1600000000000, "ann", [("mocha", None, 1)], None, None)
    ]
    assert faults(records) == [(3, "schema_violation", "$", "expected 3 columns, found 2")]
