"""Messages between steps as plain values, so that a test can show the whole of them.

Events and items become their ids, batches `partition/number`, packed commands their arguments. Fields
of messages and rows that are empty are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from state import messages
from state.dead_letters import DeadLetter
from state.events import Event, Item
from state.messages import BatchId, ShardOutput, ShardTotals, SourceTotals, StateTransfer
from state.resp import pack_command
from state.shopper import Order, Session, Shopper
from tests.streams import arguments

if TYPE_CHECKING:
    from state.messages import Write

FEATURE_COLUMNS = (
    *("sessions", "session_ms", "session_events", "views", "carts", "purchases", "revenue"),
    *("viewed_price", "viewed_prices", "first_ms", "last_ms", "last_purchase_ms", "top_share"),
    *("net_carts", "session_start_ms", "session_last_ms", "open_events", "open_views"),
    *("open_carts", "open_purchases", "cart", "away_ms", "returned_ms"),
)
"""The columns of `operators.shoppers.features.feature_row`, in order; `open_` is of the open session."""

WITH_NAMES = (
    messages.Message,
    messages.SourceBatch,
    Order,
    Session,
    ShardTotals,
    Shopper,
    SourceTotals,
    StateTransfer,
)


def plain(value: Any) -> Any:
    """A message, a row or a part of one as plain values."""
    if isinstance(value, Event):
        return value.event_id
    if isinstance(value, Item):
        return value.item_id
    if isinstance(value, DeadLetter):
        return value.failure_type
    if isinstance(value, BatchId):
        return f"{value.partition}/{value.number}"
    if isinstance(value, ShardOutput):
        return _output(value)
    if isinstance(value, WITH_NAMES):
        fields = msgspec.structs.asdict(value)
        return {name: plain(field) for name, field in fields.items() if not _is_empty(field)}
    if isinstance(value, msgspec.Struct):
        return tuple(plain(field) for field in msgspec.structs.astuple(value))
    if isinstance(value, dict):
        return {plain(key): plain(field) for key, field in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(entry) for entry in value)
    return value.hex() if isinstance(value, bytes) else value


def _output(output: ShardOutput) -> dict[str, Any]:
    fields = msgspec.structs.asdict(output)
    for name in ("removal_writes", "writes", "expiry_writes"):
        fields[name] = [_command(write) for write in fields[name]]
    fields["active"] = [_active(shopper) for shopper in fields["active"]]
    return {name: plain(field) for name, field in fields.items() if not _is_empty(field)}


def _command(write: Write) -> tuple[Any, ...]:
    """The arguments of a command; of HSET the fields as a dict."""
    command = arguments(write)
    if command[0] != "HSET":
        return command
    return "HSET", command[1], dict(zip(command[2::2], command[3::2], strict=True))


def _active(shopper: Any) -> dict[str, Any]:
    """A shopper that did something: its feature row by column, its profile by field."""
    fields = msgspec.structs.astuple(shopper) if isinstance(shopper, msgspec.Struct) else shopper
    shopper_id, known, refused, row, profile, count, _ = fields
    features = dict(zip(FEATURE_COLUMNS, np.frombuffer(row).tolist(), strict=True))
    _, _, profile_fields = _command(pack_command(profile, count))
    return {
        "shopper": shopper_id,
        "known": known,
        "refused": refused,
        "features": {name: value for name, value in features.items() if value},
        "profile": profile_fields,
    }


def _is_empty(value: Any) -> bool:
    return value is None or value is False or (not value and not isinstance(value, BatchId))
