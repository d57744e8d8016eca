"""The value of an order, and errors that name the fields of the sender's own format."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operators.readers.records import read_error, read_event, track_call


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"revenue": 20, "total": 30, "tax": 4, "shipping": 6}, 20),
        ({"revenue": "20.50"}, 20.5),
        ({"subtotal": 20, "total": 30}, 20),
        ({"total": 30, "tax": 4, "shipping": 6}, 20),
        ({"total": 0.3, "tax": 0.1}, 0.2),
        ({"total": 30}, 30),
        ({"value": 7}, 7),
        ({}, None),
    ],
)
def test_the_value_of_an_order_is_without_tax_and_shipping(
    properties: dict[str, Any], value: float | None
) -> None:
    for name in ("Order Completed", "Order Refunded"):
        assert (
            read_event("segment", track_call(name, {"order_id": "o", **properties})).value == value
        )


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ({}, ("empty_order_id", "$.properties.order_id", "an order needs its id")),
        (
            {"order_id": "o", "revenue": "much"},
            ("bad_money", "$.properties.revenue", "not a number: 'much'"),
        ),
        (
            {"order_id": "o", "revenue": 1e13},
            (
                "bad_money",
                "$.properties.revenue",
                "10000000000000.0 is not between 0 and 1000000000000",
            ),
        ),
        (
            {"order_id": "o", "products": [{"product_id": "a", "price": "1,234"}]},
            ("bad_money", "$.properties.products[0].price", "not a number: '1,234'"),
        ),
        (
            {"order_id": "undefined"},
            ("empty_order_id", "$.properties.order_id", "an order needs its id"),
        ),
        (
            {"order_id": "o" * 129},
            ("schema_violation", "$.properties.order_id", "129 characters; at most 128"),
        ),
    ],
)
def test_errors_of_an_order_name_the_fields_of_its_source(
    properties: dict[str, Any], found: tuple[str, str, str]
) -> None:
    assert read_error("segment", track_call("Order Completed", properties)) == found


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"anonymousId": None}, ("no_identity", "$", "neither anonymousId nor userId")),
        ({"anonymousId": 1.5}, ("blocked_id", "$.anonymousId", "1.5 identifies no shopper")),
        ({"type": "dance"}, ("unknown_type", "$.type", "unknown type 'dance'")),
        ({"event": ""}, ("schema_violation", "$.event", "a track needs the event's name")),
        (
            {"originalTimestamp": "soon", "sentAt": None, "receivedAt": None},
            ("bad_timestamp", "$.originalTimestamp", "not a date and time: 'soon'"),
        ),
        (
            {"originalTimestamp": None, "sentAt": None, "receivedAt": "2126-03-01T10:00:00Z"},
            ("bad_timestamp", "$.receivedAt", "more than 24 h ahead of the clock"),
        ),
        (
            {"originalTimestamp": "1970-01-01T00:00:00Z", "sentAt": "", "receivedAt": False},
            ("bad_timestamp", "$.originalTimestamp", "before 2000"),
        ),
    ],
)
def test_errors_of_an_event_name_the_fields_of_its_source(
    changed: dict[str, Any], found: tuple[str, str, str]
) -> None:
    assert read_error("segment", {**track_call("x", {}), **changed}) == found
