"""How large an event may be: configured, and handed to whatever reads events."""

from __future__ import annotations

import msgspec

from state.events import EVENT_BYTES_MAX, EVENT_ITEMS_MAX


class Limits(msgspec.Struct, frozen=True):
    """Bytes of a record, and so of an event, and items of an event that count."""

    event_bytes_max: int = EVENT_BYTES_MAX
    event_items_max: int = EVENT_ITEMS_MAX


DEFAULT = Limits()
