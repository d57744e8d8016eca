"""What is sent in a scenario: a shop's records, and the ways in which they can come out wrong."""

from __future__ import annotations

import json
import random
from typing import NamedTuple

import msgspec

from operators.shards.identity_map import device_key
from operators.synthetic.traffic import generate_events
from state.times import DAY_MS, HOUR_MS

KB = 1024


class Record(NamedTuple):
    """A record of the events topic; `arrived_ms` is its timestamp."""

    key: bytes
    value: bytes
    arrived_ms: int


def records(events: int, seed: int = 7) -> list[Record]:
    """A shop whose shoppers identify themselves, buy and come back."""
    encode = msgspec.json.Encoder().encode
    return [
        Record(device_key(event).encode(), encode(event), event.received_ts)
        for event in generate_events(
            seed=seed, events=events, shoppers=events // 25, items=200, events_per_s=2.0
        )
    ]


def twice(clean: list[Record], seed: int = 7) -> list[Record]:
    """Every record again, a little later."""
    return delayed([one for record in clean for one in (record, record)], 20, seed)


def delayed(clean: list[Record], places_max: int, seed: int = 7) -> list[Record]:
    """Each record up to so many places later than it was sent."""
    rng = random.Random(seed)
    places = [(place + rng.uniform(0, places_max), record) for place, record in enumerate(clean)]
    return [record for _, record in sorted(places, key=lambda one: one[0])]


def poisoned(clean: list[Record], share: float, seed: int = 7) -> tuple[list[Record], int]:
    """Add this share of records that are no events; return all records and the number added."""
    rng = random.Random(seed)
    junk = (b"", b"{", b"null", b"\xff\xfe", b'{"type":"item_view"}', b"[" * 500, b"x" * 70 * KB)
    mixed: list[Record] = []
    for record in clean:
        if rng.random() < share:
            mixed.append(record._replace(value=rng.choice(junk)))
        mixed.append(record)
    return mixed, len(mixed) - len(clean)


def late(clean: list[Record], share: float, seed: int = 7) -> list[Record]:
    """Make this share of the events two hours older than those around them."""
    return _changed(clean, share, seed, event_ts=lambda ms: ms - 2 * HOUR_MS)


def a_day_ahead(clean: list[Record], share: float, seed: int = 7) -> list[Record]:
    """Let this share of the events come from a clock a day ahead, with their true time of receipt."""
    return _changed(clean, share, seed, event_ts=lambda ms: ms + DAY_MS)


def crowded(clean: list[Record], share: float, seed: int = 7) -> list[Record]:
    """Give this share of the events to one shopper."""
    rng = random.Random(seed)
    mixed = []
    for record in clean:
        event = json.loads(record.value)
        if event["type"] == "item_view" and rng.random() < 2 * share:
            event |= {"anonymous_id": "everybody", "user_id": None}
            record = record._replace(key=b"everybody", value=json.dumps(event).encode())
        mixed.append(record)
    return mixed


def heavy(clean: list[Record], size: int, every: int) -> list[Record]:
    """Some events as large as `size` bytes."""
    mixed = []
    for place, record in enumerate(clean):
        if place % every == 0:
            event = json.loads(record.value)
            event["props"] = {"note": "x" * min(size // 2, 30 * KB)}
            event["page"] = {"url": "https://shop.example/" + "y" * (size // 2)}
            record = record._replace(value=json.dumps(event).encode())
        mixed.append(record)
    return mixed


def _changed(clean: list[Record], share: float, seed: int, *, event_ts: object) -> list[Record]:
    assert callable(event_ts)
    rng = random.Random(seed)
    mixed = []
    for record in clean:
        if rng.random() < share:
            event = json.loads(record.value)
            event["received_ts"] = event.get("received_ts", event["event_ts"])
            event["event_ts"] = event_ts(event["event_ts"])
            record = record._replace(value=json.dumps(event).encode())
        mixed.append(record)
    return mixed
