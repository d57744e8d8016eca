"""A change as a webhook message: in the form of Segment's spec, as `Audience Entered` and `Exited`.

Source of the form: Segment, "Using Engage data" (track calls of audiences), and the spec of `alias`.
The form is public (docs/changes.md): add optional fields only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from state import keys
from state.replies import decode_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

_AUDIENCE = {"enter": ("Audience Entered", True), "leave": ("Audience Exited", False)}
_TRIGGERS = {"back-in-stock": "Back In Stock", "price-drop": "Price Dropped"}
_LIBRARY = {"name": "penstock", "version": keys.WRITER_VERSION}


def message_id(stream: int, entry_id: bytes) -> str:
    """The id of a change's message, the same however often it is sent.

    >>> message_id(3, b"7-6124273845")
    'ps-3-7-6124273845'
    """
    return f"ps-{stream}-{entry_id.decode()}"


def build_message(
    stream: int, entry_id: bytes, fields: Mapping[bytes, bytes], segment_name: str
) -> bytes | None:
    """The JSON message of a change, None for a kind of change that is not sent.

    Stage changes are not sent: a stage is a segment too, with messages of its own.
    """
    values = decode_fields(fields)
    kind, shopper, segment = values["kind"], values["shopper"], values["segment"]
    payload: dict[str, Any] = {
        "messageId": message_id(stream, entry_id),
        "timestamp": format_time(int(values["event_ts"])),
        "context": {"library": _LIBRARY},
    }
    identity = {"userId" if values.get("known") == "1" else "anonymousId": shopper}
    if kind in _AUDIENCE:
        event, is_in = _AUDIENCE[kind]
        payload |= {"type": "track", "event": event, **identity}
        payload["context"]["personas"] = {
            "computation_class": "audience",
            "computation_id": segment,
            "computation_key": segment,
        }
        payload["properties"] = {
            "audience_key": segment,
            "audience_name": segment_name,
            "version": int(values["version"]),
            segment: is_in,
        }
    elif kind == "trigger":
        payload |= {"type": "track", "event": _TRIGGERS[segment], **identity}
        payload["properties"] = {"trigger": segment, "product_id": values["item"]}
    elif kind == "merge":
        payload |= {"type": "alias", "previousId": shopper, "userId": segment}
    elif kind == "erase":
        payload |= {"type": "track", "event": "Shopper Erased", **identity, "properties": {}}
    elif kind == "refuse":
        payload |= {"type": "track", "event": "Consent Withdrawn", **identity}
        payload["properties"] = {"purpose": segment}
    else:
        return None
    return orjson.dumps(payload)


def format_time(at_ms: int) -> str:
    """A time in ISO 8601, as JSON messages have it.

    >>> format_time(1_767_225_600_007)
    '2026-01-01T00:00:00.007Z'
    """
    time = datetime.fromtimestamp(at_ms / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
