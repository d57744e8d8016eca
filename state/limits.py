"""The size limits of an event, which every reader of events receives. Set by `source.*_max`."""

from __future__ import annotations

import msgspec

from state.events import EVENT_BYTES_MAX, EVENT_ITEMS_MAX


class Limits(msgspec.Struct, frozen=True):
    """Bytes of a record, and items of an event that are processed."""

    event_bytes_max: int = EVENT_BYTES_MAX
    event_items_max: int = EVENT_ITEMS_MAX


DEFAULT = Limits()
