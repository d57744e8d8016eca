"""The figures in Redis are those of persons: a recount that knows who is who comes to the same.

Streams hold persons with several devices, user ids, anonymous ids that equal user ids, servers that send
a device's id as that of a user, sign-ins before and after what they tell of, and what is told twice; in
any order within lateness and any batches. `tests/reference/persons.py` is the recount, and says how to
add to it.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.shards.identity_map import device_key
from state import keys
from state.store import Store
from tests.reference.persons import FIELDS, RULES, SEGMENTS, recount, streams
from tests.streams import Flow, flow_settings, run_flow

if TYPE_CHECKING:
    from state.events import Event
    from state.store import Store as Redis
    from tests.reference.persons import Stream


def in_redis(stream: Stream, redis_url: str, batch_events: int) -> tuple[dict[str, Any], Redis]:
    """All that the whole flow leaves."""
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    store.client.flushall()
    asked = msgspec.structs.replace(
        flow_settings(batch_events=batch_events), segment_rules_text=RULES
    )
    with tempfile.TemporaryDirectory() as folder:
        return run_flow(stream.events, redis_url, Path(folder), settings=asked), store


def assert_persons(stream: Stream, redis_url: str, batch_events: int) -> None:
    """One profile a person, with the figures of that person; aliases, segments and lifetimes too."""
    rows, store = in_redis(stream, redis_url, batch_events)
    expected = recount(stream)
    profiles = {key: dict(rows[key]) for key in rows if key.endswith("}:profile")}
    shown = {
        key: {name: _text(fields.get(name.encode())) for name in FIELDS}
        for key, fields in profiles.items()
    }
    assert shown == {
        keys.profile_key(name): {field: of(figures) for field, of in FIELDS.items()}
        for name, figures in expected.items()
    }
    used = {id_ for act in stream.acts for id_ in (act.event.anonymous_id,)}
    assert {key: rows[key].decode() for key in rows if key.startswith("ps:1:alias:")} == {
        keys.alias_key(device): person.name
        for person in stream.persons
        for device in person.aliases & used
    }
    assert dict(rows["ps:1:meta"])[b"shoppers"] == str(len(expected)).encode()
    for sid, (_, is_in) in SEGMENTS.items():
        members = {name.decode() for name, _ in rows.get(keys.members_key(sid), ())}
        assert members == {name for name, figures in expected.items() if is_in(figures)}, sid
        size = dict(rows[keys.stats_key(sid)])[b"size"] if members else b"0"
        assert size == str(len(members)).encode()
    own = [key for key in rows if key.startswith(("ps:1:shopper:", "ps:1:alias:"))]
    assert {key for key in own if store.client.ttl(key) < 0} == set()
    names = {keys.shopper_key(name) for name in expected}
    assert {key for key in own if key.startswith("ps:1:shopper:")} <= {
        key for key in own for name in names if key.startswith(name)
    }
    store.close()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


QUICK = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(stream=streams(), batch_events=st.sampled_from([1, 3, 100]))
def test_figures_are_those_of_persons(stream: Stream, batch_events: int, redis_url: str) -> None:
    assert_persons(stream, redis_url, batch_events)


@given(
    stream=streams(most=20, bursts=3, persons=4),
    batch_events=st.sampled_from([1, 2, 7, 100]),
    workers=st.sampled_from([1, 2]),
    restarts=st.booleans(),
)
def test_however_many_fold_them_and_with_a_restart_after_each_batch(
    stream: Stream, batch_events: int, workers: int, restarts: bool
) -> None:
    flow, events = Flow(), stream.events
    for start in range(0, len(events), batch_events):
        flow.feed(events[start : start + batch_events], workers=workers)
        if restarts:
            flow = flow.resumed()
    shoppers = flow.outcome().shoppers
    assert {
        name: (s.events, s.sessions, s.views, s.carts, s.purchases) for name, s in shoppers.items()
    } == {
        name: (f.events, f.sessions, f.views, f.carts, f.purchases)
        for name, f in recount(stream).items()
    }


@given(
    stream=streams(most=20, bursts=3, persons=4),
    partitions=st.integers(2, 3),
    seed=st.integers(0, 99),
)
def test_however_fast_the_partitions_of_a_topic_are_read(
    stream: Stream, partitions: int, seed: int
) -> None:
    """What a device sends is in one of them, in the order in which it was sent."""
    rng, flow = random.Random(seed), Flow()
    rest: dict[str, list[Event]] = {str(number): [] for number in range(partitions)}
    for event in stream.events:
        rest[str(crc32(device_key(event).encode()) % partitions)].append(event)
    while any(rest.values()):
        taken = {name: rng.randint(0, 9) for name in rest}
        batches = {name: rest[name][:count] for name, count in taken.items()}
        rest = {name: rest[name][count:] for name, count in taken.items()}
        flow.feed_at_once(batches, partitions=partitions, live=rng.random() < 0.5)
    counted = {name: (s.events, s.purchases) for name, s in flow.outcome().shoppers.items()}
    assert counted == {name: (f.events, f.purchases) for name, f in recount(stream).items()}


@pytest.mark.slow
@settings(QUICK, max_examples=150)
@given(
    stream=streams(most=25, bursts=4, persons=5), batch_events=st.sampled_from([1, 2, 7, 30, 1000])
)
def test_figures_of_many_persons_too(stream: Stream, batch_events: int, redis_url: str) -> None:
    assert_persons(stream, redis_url, batch_events)
