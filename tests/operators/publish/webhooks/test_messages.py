"""Webhook messages: each kind of change in, the whole message out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from operators.publish.webhooks.messages import build_message
from state import keys

ENTRY_ID = b"1767225600007-381324312"
BASE = {
    "messageId": "ps-3-1767225600007-381324312",
    "timestamp": "2026-01-01T00:00:00.007Z",
    "context": {"library": {"name": "penstock", "version": keys.WRITER_VERSION}},
}


def message_of(known: str = "1", **fields: str) -> dict[str, Any] | None:
    entry = {"shopper": "ann", "version": "2", "event_ts": "1767225600007", "known": known}
    packed = {name.encode(): value.encode() for name, value in (entry | fields).items()}
    message = build_message(3, ENTRY_ID, packed, "VIPs")
    return None if message is None else json.loads(message)


@pytest.mark.parametrize(
    ("kind", "event", "is_in"),
    [("enter", "Audience Entered", True), ("leave", "Audience Exited", False)],
)
def test_a_membership_change_is_a_track_call_of_an_audience(
    kind: str, event: str, is_in: bool
) -> None:
    audience = {
        "computation_class": "audience",
        "computation_id": "vip",
        "computation_key": "vip",
    }
    assert message_of(kind=kind, segment="vip") == BASE | {
        "context": {**BASE["context"], "personas": audience},  # type: ignore[dict-item]
        "type": "track",
        "event": event,
        "userId": "ann",
        "properties": {
            "audience_key": "vip",
            "audience_name": "VIPs",
            "version": 2,
            "vip": is_in,
        },
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"kind": "trigger", "segment": "price-drop", "item": "mug"},
            {
                "type": "track",
                "event": "Price Dropped",
                "userId": "ann",
                "properties": {"trigger": "price-drop", "product_id": "mug"},
            },
        ),
        (
            {"kind": "merge", "segment": "bob", "known": "0"},
            {"type": "alias", "previousId": "ann", "userId": "bob"},
        ),
        (
            {"kind": "erase", "segment": "", "known": "0"},
            {
                "type": "track",
                "event": "Shopper Erased",
                "anonymousId": "ann",
                "properties": {},
            },
        ),
        (
            {"kind": "refuse", "segment": "ads"},
            {
                "type": "track",
                "event": "Consent Withdrawn",
                "userId": "ann",
                "properties": {"purpose": "ads"},
            },
        ),
    ],
    ids=["trigger", "merge", "erase", "refuse"],
)
def test_other_changes_have_their_own_messages(
    fields: dict[str, str], expected: dict[str, Any]
) -> None:
    assert message_of(**fields) == BASE | expected


def test_a_stage_change_has_no_message() -> None:
    assert message_of(kind="stage", segment="lifecycle-new") is None
