"""What travels between the steps of the flow: one message a shard and batch, not one an event.

Never stored (an epoch is complete before its snapshot), so these may change freely; they are pickled
between workers, so they hold columns and plain values.
"""

from __future__ import annotations

import msgspec

from state.deadletters import DeadLetter
from state.events import Event, Item
from state.shopper import Shopper

Write = tuple[str | bytes | int | float, ...]
"""A Redis command and its arguments, as `state.store` sends it."""


class BatchId(msgspec.Struct, frozen=True, order=True):
    """Which batch of which source partition, how far that had come before it, whether it ends it.

    `partitions` is how many the source has. Time in ms.
    """

    partition: str
    number: int
    watermark_ms: int = 0
    last: bool = False
    partitions: int = 1


class SourceTotals(msgspec.Struct):
    """What a source partition has read since the first start."""

    read: int = 0
    rejected: dict[str, int] = {}
    by_type: dict[str, int] = {}


class Group(msgspec.Struct):
    """The events of one batch that one shard is to fold.

    `position` is each event's place in its batch; `clock` is the watermark that stood when it came
    (ms): an event older than that is late. The first group of a batch speaks for all of it: `totals`,
    and `received_ms`, 8 bytes a place in the batch, when the event was received, 0 for what is none.
    """

    batch: BatchId
    shard: int
    events: list[Event]
    position: list[int]
    clock: list[int]
    totals: SourceTotals | None = None
    received_ms: bytes = b""


class SourceBatch(msgspec.Struct):
    """What a source read at once: a group for every shard, and what it could not use."""

    groups: list[Group]
    rejected: list[DeadLetter]


class Move(msgspec.Struct):
    """An anonymous shopper's whole state on its way to the user it turned out to be."""

    position: int
    anonymous_id: str
    shopper: str
    state: Shopper
    at_ms: int
    clock_ms: int


class Totals(msgspec.Struct):
    """What one shard has counted since the first start."""

    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    shoppers: int = 0
    sessions_opened: int = 0
    sessions_closed: int = 0
    identity_conflicts: int = 0
    merges: int = 0
    erased: int = 0


Click = tuple[int, str, Item, str, int, int, str, str]
"""One item of an event that shows taste: position in the batch, shopper, item, event type, event time
(ms), start of the session it belongs to (ms), category as one name (`shoes/running`) or "", currency or
""."""

Forward = tuple[int, str, Event, int]
"""An event whose shopper is a user that another shard keeps: position in the batch, shopper, event, the
watermark that stood when it came (ms)."""

Active = tuple[str, bool, bool, tuple[float, ...], Write, int]
"""A shopper that did something, once a batch: id, whether it is a user, whether it may have lists, its
feature row (`operators.features`), its profile as a write, how long that is kept (s)."""


class Visited(msgspec.Struct):
    """What one shard made of its part of a batch.

    `forwards` and `moves` go on to the shard of the user, in this batch. `orders` are (shopper, worth
    in millionths, time), `catalogue` (time, item, currency), `moved` (anonymous id, user, time),
    `erased` (shopper, time); times in ms.
    """

    batch: BatchId
    shard: int
    watermark_ms: int
    last: bool
    active: list[Active] = []
    clicks: list[Click] = []
    orders: list[tuple[str, int, int]] = []
    catalogue: list[tuple[int, Item, str]] = []
    moved: list[tuple[str, str, int]] = []
    erased: list[tuple[str, int]] = []
    writes: list[Write] = []
    forwards: list[Forward] = []
    moves: list[Move] = []
    totals: dict[str, Totals] = {}
    source: SourceTotals | None = None
    received_ms: bytes = b""


class Regrouped(msgspec.Struct):
    """What one shard of users is to fold of a batch, and what the devices' shard made of it.

    `parts` is how many of all `shards` of devices this speaks for: a batch is whole when all have
    spoken to all.
    """

    batch: BatchId
    shard: int
    parts: int
    shards: int
    forwards: list[Forward]
    moves: list[Move]
    passed: list[Visited]


class Part(msgspec.Struct):
    """One shard's share of a batch, ready to learn from."""

    batch: BatchId
    shard: int
    parts: int
    visited: list[Visited]


class Output(msgspec.Struct):
    """What a batch leads to in Redis, in order, and when its events were received.

    `received_ms` as in `Group`: with it the sink knows how fresh a key is when it can be read.
    """

    writes: list[Write]
    received_ms: bytes = b""
