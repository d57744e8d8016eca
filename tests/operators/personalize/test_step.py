"""The learning step: live batches that come at once are learned as one, to the same facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from operators.publish.digest import deterministic_rows
from operators.shards.batching import SourceBatcher
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import join_parts, regroup
from operators.shards.user_shard import UserShard
from operators.synthetic.traffic import generate_events
from state import keys
from state.store import Store
from tests.personalization import Personalization
from tests.streams import (
    ITEMS,
    LATENESS_MS,
    RULES,
    SHARDS,
    arguments,
    content,
    event,
    flow_settings,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event
    from state.messages import BatchOutput, ShardPart


def batches(streams: Sequence[Sequence[Event]], *, live: bool = True) -> list[list[ShardPart]]:
    """What the shards make of each stream, as a batch."""
    clock = SourceBatcher()
    devices = [DeviceShard(RULES) for _ in range(SHARDS)]
    users = [UserShard(RULES) for _ in range(SHARDS)]
    made = []
    for stream in streams:
        groups = clock.batch(
            stream,
            partition="p",
            shards=SHARDS,
            allowed_lateness_ms=LATENESS_MS,
            last=stream is streams[-1],
            live=live,
        ).shard_inputs
        visited = [one for group in groups for one in devices[group.shard].process(group)]
        made.append([part for m in regroup(visited, SHARDS) for part in users[m.shard].process(m)])
    return made


def learned(parts: Sequence[Sequence[ShardPart]]) -> list[BatchOutput]:
    learning = Personalization(flow_settings())
    return [output for at_once in parts for output in learning.process_batch(at_once)]


def in_redis(outputs: Sequence[BatchOutput], url: str) -> dict[str, Any]:
    store = Store(url, timeout_ms=2000, patience_s=2)
    store.client.flushall()
    for output in outputs:
        store.send(output.writes)
    store.close()
    return content(url)


def at_once(parts: Sequence[Sequence[ShardPart]], number: int) -> list[list[ShardPart]]:
    return [
        [part for batch in parts[start : start + number] for part in batch]
        for start in range(0, len(parts), number)
    ]


@pytest.mark.parametrize("number", [2, 40])
def test_learning_live_batches_at_once_comes_to_the_same_facts(redis_url: str, number: int) -> None:
    stream = list(generate_events(events=2000, shoppers=200, items=60, events_per_s=0.3))
    cut = [stream[start : start + 50] for start in range(0, len(stream), 50)]
    one_by_one = in_redis(learned(batches(cut)), redis_url)
    outputs = learned(at_once(batches(cut), number))
    assert len(outputs) == len(cut) // number
    together = in_redis(outputs, redis_url)
    assert dict(deterministic_rows(together.items())) == dict(
        deterministic_rows(one_by_one.items())
    )
    # What is learned differs: clusters, for one, begin at another moment.
    of_shoppers = [
        {key for key in rows if key.endswith(("}:profile", "}:session", "}:top:home"))}
        for rows in (together, one_by_one)
    ]
    assert of_shoppers[0] == of_shoppers[1]


def test_recorded_batches_are_learned_one_by_one() -> None:
    """How they fall together is a matter of time, and a replay is not."""
    recorded = batches([[view(1, 0)], [view(2, 1)]], live=False)
    assert len(learned(at_once(recorded, 2))) == 2


def test_who_leaves_in_a_later_batch_is_not_written_again(redis_url: str) -> None:
    told = batches(
        [
            [view(1, 0, "ann"), view(2, 0, "bob"), view(3, 0, "cat")],
            [event("erase", 4, 1, "ann"), event("identify", 5, 1, "bob", "u")],
            [event("erase", 6, 2, "cat")],
            [view(7, 3, "cat")],
        ]
    )
    outputs = learned(at_once(told, 4))
    rows = in_redis(outputs, redis_url)
    profiles = {key for key in rows if key.endswith("}:profile")}
    assert profiles == {keys.profile_key("u"), keys.profile_key("cat")}
    lists = {key for key in rows if "}:top:" in key}
    assert lists == {keys.top_key("u", "home"), keys.top_key("cat", "home")}
    written = [arguments(write)[1] for output in outputs for write in output.writes]
    assert written.count(keys.profile_key("cat")) > 1, "deleted, and written anew"


def test_what_is_learned_does_not_depend_on_which_shards_one_worker_keeps() -> None:
    """Many events at each time, of shoppers in all shards: their order is decided by the shard."""
    stream = [
        event(
            "item_view",
            f"{at} {n}",
            at * 60_000,
            f"device {n}",
            items=(ITEMS[(n * at) % len(ITEMS)],),
        )
        for at in range(12)
        for n in range(24)
    ]
    parts = batches([stream[start : start + 96] for start in range(0, len(stream), 96)])

    def trained(workers: int) -> tuple[bytes, ...]:
        learning = Personalization(flow_settings())
        for batch in parts:
            kept = [[one for one in batch if one.shard % workers == n] for n in range(workers)]
            for together in reversed(kept):
                learning.process_batch(join_parts(together))
        return learning.snapshot()

    assert trained(2) == trained(SHARDS) == trained(1)
