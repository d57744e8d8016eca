"""Rules for readers of all formats of logs: headers, quotes, broken rows, and bounded memory."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

from operators.readers.registry import READERS, RECORD_READERS, UNSORTED_FORMATS
from state.errors import DataError
from state.events import Event, Item
from state.limits import Limits
from tests.operators.readers.tables import (
    HEADERS,
    NOW_MS,
    ONLINE_RETAIL,
    RETAILROCKET,
    events,
    faults,
    read_rows,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("format_name", sorted(HEADERS))
@pytest.mark.parametrize("first", ["", "a,b,c", '{"event_id":"1"}', "\x1f\x8b"])
def test_lines_of_another_format_are_an_error_that_names_both_headers(
    format_name: str, first: str
) -> None:
    with pytest.raises(DataError) as error:
        read_rows(format_name, first)
    message = str(error.value)
    assert repr(HEADERS[format_name]) in message
    assert repr(first) in message
    assert "\n" not in message


def test_a_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    rows = (b"\xef\xbb\xbf" + RETAILROCKET.encode() + b"\r\n", b"1433221332117,1,view,3,\r\n")
    assert [summary(event)[3] for event in events(read_rows("retailrocket", *rows))] == [
        [("3", None, 1)]
    ]


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
    plain = events(read_rows(format_name, header, row))
    assert len(plain) == 1
    for names in (header, quoted, quoted.upper()):
        found = read_rows(format_name, mark + names.encode() + b"\r\n", values.encode() + b"\r\n")
        assert [summary(event) for event in events(found)] == [summary(event) for event in plain]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_headers_of_online_retail_ii_and_published_yoochoose_may_have_a_byte_order_mark_and_quotes(
    mark: bytes,
) -> None:
    names = ONLINE_RETAIL.replace("InvoiceNo", "Invoice").replace("UnitPrice", "Price")
    second = ",".join(f'"{name}"' for name in names.replace("CustomerID", "Customer ID").split(","))
    assert (
        len(events(read_rows("online-retail", mark + second.encode(), ROWS["online-retail"]))) == 1
    )
    row = "3,2014-04-02T11:17:46.940Z,214716935,0"
    for first in (row, f'"{row.replace(",", chr(34) + "," + chr(34))}"'):
        found = events(read_rows("yoochoose", mark + first.encode(), row))
        assert [event.anonymous_id for event in found] == ["3", "3"]
    titled = read_rows("yoochoose", mark + b"SessionId,Timestamp,ItemId,Category", row)
    assert [event.anonymous_id for event in events(titled)] == ["3"]


def test_a_table_may_have_weights_and_thousands_separators() -> None:
    at = "2010-12-01 08:26:00"
    rows = (f'1,2,BRIE,0.35,{at},"1,018.00",7,EIRE', f'2,2,BRIE,1,{at},"1,018",7,EIRE')
    records = read_rows("online-retail", ONLINE_RETAIL, *rows)
    assert [summary(event)[3:] for event in events(records)] == [
        ([("2", 1018.0, 0.35)], "1", 356.3),
    ]
    assert faults(records) == [(3, "bad_money", "UnitPrice", "not a number: '1,018'")]


def test_equal_rows_are_different_events_and_a_replay_gives_the_same_ids() -> None:
    log = (RETAILROCKET, *["1433221332117,1,view,3,"] * 3, "1433221332117,1,view,4,")
    first, again = events(read_rows("retailrocket", *log)), events(read_rows("retailrocket", *log))
    assert len({event.event_id for event in first}) == 4
    assert first == again


def test_a_quoted_field_may_span_lines() -> None:
    at = "2010-12-01 08:26:00"
    records = read_rows(
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
    records = read_rows("retailrocket", RETAILROCKET, '1433221332117,1,view,"3,', *[row] * gap, row)
    assert len(events(records)) == gap + 1
    assert [fault[:2] for fault in faults(records)] == [(2, "schema_violation")]


def test_rows_that_are_too_long_or_not_text_become_dead_letters() -> None:
    records = read_rows("retailrocket", RETAILROCKET, "x" * (2**20 + 1), b"\xff,1,view,3,", "")
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
    found = events(read_rows("retailrocket", RETAILROCKET, *order, *between, *order))
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


def test_unsorted_formats_are_formats() -> None:
    assert set(READERS) > UNSORTED_FORMATS
