"""The floor: the least that any stream processor would do with these events.

Decode, check, group by shard, and one value for each active shopper, shard and batch; nothing is
remembered or learned. Its source is written out here as it was on 2026-11-30 and stays so: a ratio to
it means the same after the product reads its events faster. It shares the sink with the product.
"""

from __future__ import annotations

import zlib
from array import array
from itertools import islice
from typing import TYPE_CHECKING

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from msgspec.structs import force_setattr

from flows.sources.files import LogFile
from operators.events.validation import (
    CLOCK_SKEW_MS,
    EARLIEST_MS,
    FUTURE_MS,
    ORDER_TYPES,
    TYPES_WITH_ITEMS,
    normalize_id,
)
from state import keys
from state.events import MONEY_MAX, Event
from state.messages import BatchOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flows.sinks.redis import RedisSink
    from state.messages import Write

SHARDS = 64
BATCH_EVENTS = 8192
LATENESS_MS = 300_000
LIFETIME_S = 86_400
NOW_MS = 2**62
NESTING_MAX = 99
ITEMS_MAX = 500
CURRENCY = "EUR"

_decode = msgspec.json.Decoder(Event).decode


def build(path: str, on_start: Callable[[], None], sink: RedisSink) -> Dataflow:
    """events -> by_shard -> redis."""

    def write(batch: list[Group]) -> list[tuple[str, BatchOutput]]:
        return [
            (str(shard), BatchOutput(_values(group.events)))
            for shard, group in enumerate(batch)
            if group.events
        ]

    flow = Dataflow("floor")
    batches = op.input("events", flow, Source(path, on_start))
    op.output("redis", op.flat_map("by_shard", batches, write), sink)
    return flow


def _values(events: list[Event]) -> list[Write]:
    last = {_device(event): event.event_ts for event in events}
    return [
        ("SET", keys.profile_key(name), at_ms, "EX", LIFETIME_S) for name, at_ms in last.items()
    ]


class Group:
    """The events of a batch for one shard, with what a keyed step has to know of each."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.positions: list[int] = []
        self.watermarks_ms: list[int] = []


class Groups:
    """The groups of a batch."""

    def __init__(self) -> None:
        self.groups = [Group() for _ in range(SHARDS)]
        self.received_ms = array("q")
        self.mentioned: set[str] = set()

    def add(self, event: Event, position: int, watermark_ms: int) -> None:
        """Add an event to the group of its shard."""
        own = self.groups[_shard_of(_device(event))]
        own.events.append(event)
        own.positions.append(position)
        own.watermarks_ms.append(watermark_ms)
        self.received_ms.append(event.received_ts)
        user_id = event.user_id
        if event.type == "erase":
            self.mentioned.clear()
        elif user_id is not None and user_id not in self.mentioned:
            self.mentioned.add(user_id)


class Partition(StatefulSourcePartition[list[Group], bytes]):
    """The file, in batches."""

    def __init__(self, path: str, on_start: Callable[[], None]) -> None:
        self._events = _events(path, on_start)
        self._watermark_ms = 0
        self._by_type: dict[str, int] = {}
        self._clamped = 0

    def next_batch(self) -> list[list[Group]]:
        """The next batch, until the file ends."""
        events = list(islice(self._events, BATCH_EVENTS))
        if not events:
            raise StopIteration
        return [self._group(events)]

    def _group(self, events: list[Event]) -> list[Group]:
        distribution, watermark_ms, by_type = Groups(), self._watermark_ms, self._by_type
        add = distribution.add
        for position, event in enumerate(events):
            if not isinstance(event, Event) or event.left_out:
                continue
            if event.currency is not None and event.currency != CURRENCY:
                raise SystemExit("the floor converts no money")
            add(event, position, watermark_ms)
            by_type[event.type] = by_type.get(event.type, 0) + 1
            effective_ms = event.event_ts
            if event.received_ts < effective_ms:
                self._clamped += effective_ms - event.received_ts >= CLOCK_SKEW_MS
                effective_ms = event.received_ts
            if effective_ms - LATENESS_MS > watermark_ms:
                watermark_ms = effective_ms - LATENESS_MS
        self._watermark_ms = watermark_ms
        return distribution.groups

    def snapshot(self) -> bytes:
        """Nothing is stored."""
        return b""


class Source(FixedPartitionedSource[list[Group], bytes]):
    """One partition."""

    def __init__(self, path: str, on_start: Callable[[], None]) -> None:
        self._path = path
        self._on_start = on_start

    def list_parts(self) -> list[str]:
        """The file."""
        return ["file"]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> Partition:
        """From its beginning."""
        return Partition(self._path, self._on_start)


def _device(event: Event) -> str:
    return event.anonymous_id or event.user_id or ""


def _shard_of(name: str) -> int:
    return zlib.crc32(name.encode()) % SHARDS


def _events(path: str, on_start: Callable[[], None]) -> Iterator[Event]:
    on_start()
    yield from _valid_events(LogFile(path).lines())


def _valid_events(lines: Iterator[bytes]) -> Iterator[Event]:
    for _, line in enumerate(lines, 1):
        event = _decode_valid(line)
        if event is not None:
            yield event


def _decode_valid(line: bytes) -> Event | None:
    try:
        if not line.isascii():
            line.decode()
        event = _decode(line)
        if len(line) > 2 * NESTING_MAX and not _is_flat(line):
            return None
        if not _is_valid(event, NOW_MS):
            return None
    except Exception:
        return None
    return event if len(event.items) <= ITEMS_MAX else None


def _is_flat(line: bytes) -> bool:
    return line.count(b"{") + line.count(b"[") <= NESTING_MAX


def _is_valid(event: Event, now_ms: int) -> bool:
    return _has_ids(event) and _has_times(event, now_ms) and _has_items(event) and _has_order(event)


def _has_ids(event: Event) -> bool:
    event_id, user, anonymous = event.event_id, event.user_id, event.anonymous_id
    trimmed = event_id.strip()
    if trimmed is not event_id:
        force_setattr(event, "event_id", trimmed)
    if user is not None:
        given, user = user, normalize_id(user)
        if user is not given:
            force_setattr(event, "user_id", user)
    if anonymous is not None:
        given, anonymous = anonymous, normalize_id(anonymous)
        if anonymous is not given:
            force_setattr(event, "anonymous_id", anonymous)
    return trimmed != "" and (user is not None or anonymous is not None)


def _has_times(event: Event, now_ms: int) -> bool:
    sent, received, latest = event.event_ts, event.received_ts, now_ms + FUTURE_MS
    if received == 0:
        received = sent
        force_setattr(event, "received_ts", received)
    elif not EARLIEST_MS <= received <= latest:
        return False
    if sent > received + CLOCK_SKEW_MS:
        sent = received + CLOCK_SKEW_MS
        force_setattr(event, "event_ts", sent)
    return EARLIEST_MS <= sent <= latest


def _has_items(event: Event) -> bool:
    items = event.items
    for item in items:
        item_id, price = item.item_id, item.price
        trimmed = item_id.strip()
        if not trimmed or not (price is None or 0 <= price <= MONEY_MAX):
            return False
        if trimmed is not item_id:
            force_setattr(item, "item_id", trimmed)
    return items != () or event.type not in TYPES_WITH_ITEMS


def _has_order(event: Event) -> bool:
    order, value = event.order_id, event.value
    if order is not None:
        order = order.strip() or None
        force_setattr(event, "order_id", order)
    if order is None and event.type in ORDER_TYPES:
        return False
    return value is None or 0 <= value <= MONEY_MAX
