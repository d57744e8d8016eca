"""Each format of logs as its specification: a small log and all that it gives."""

from __future__ import annotations

from state.events import Event, Item
from tests.operators.readers.tables import (
    ONLINE_RETAIL,
    REES46,
    RETAILROCKET,
    YOOCHOOSE,
    events,
    faults,
    read_rows,
    summary,
)


def test_penstock_lines_become_canonical_events_or_dead_letters() -> None:
    good = '{"event_id":"1","type":"page_view","event_ts":1600000000000,"user_id":"ann"}'
    assert read_rows("penstock", good, "", "?") == [
        Event("1", "page_view", 1600000000000, 1600000000000, user_id="ann"),
        *read_rows("penstock", good, "", "?")[1:],
    ]
    assert faults(read_rows("penstock", good, "", "?")) == [
        (2, "not_json", "$", "Expecting value: line 1 column 1 (char 0)"),
        (3, "not_json", "$", "Expecting value: line 1 column 1 (char 0)"),
    ]


def test_a_rees46_row_becomes_one_event() -> None:
    (event,) = read_rows(
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
    records = read_rows(
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
    assert [summary(event) for event in events(records)] == [
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
    records = read_rows(
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
    assert [summary(event) for event in events(records)] == [
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
    prepared = read_rows("yoochoose", YOOCHOOSE, "3\t214716935\t1396437466.94", "3\t2148\tlate")
    published = read_rows("yoochoose", "3,2014-04-02T11:17:46.940Z,214716935,S", "3,late,2148,0")
    click = ("item_view", 1396437466940, "3", [("214716935", None, 1)], None, None)
    assert [summary(event) for event in events(prepared)] == [click]
    assert [summary(event) for event in events(published)] == [click]
    assert faults(prepared) == [(3, "bad_timestamp", "Time", "not a number: 'late'")]
    assert faults(published) == [
        (2, "bad_timestamp", "Timestamp", "not a date and time: 'late'"),
    ]


def test_online_retail_invoices_are_purchases_and_cancellations_refunds() -> None:
    at = "2010-12-01 08:26:00"
    records = read_rows(
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
    assert [summary(event) for event in events(records)] == [
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
    (event,) = read_rows(
        "online-retail",
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country",
        b"1,2,CAF\xc9,1,2010-12-01 08:26:00,1.5,7.0,EIRE",
    )
    assert isinstance(event, Event)
    assert event.items == (Item("2", name="CAFÉ", price=1.5),)
