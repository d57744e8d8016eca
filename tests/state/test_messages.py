"""Messages between workers: what arrives in another process is what was sent."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import hiredis
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from operators.shards.batching import SourceBatcher
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.resp import pack_command, pack_int, pack_str
from tests.streams import LATENESS_MS, RULES, SHARDS, event, streams

if TYPE_CHECKING:
    from state.events import Event


@given(st.lists(streams(), min_size=1, max_size=3))
def test_every_message_of_a_flow_arrives_as_it_was_sent(batches: list[list[Event]]) -> None:
    """Each is taken apart and put together on every hop."""
    clock = SourceBatcher()
    devices = [DeviceShard(RULES) for _ in range(SHARDS)]
    users = [UserShard(RULES) for _ in range(SHARDS)]
    for stream in batches:
        batch = clock.batch(
            stream, partition="p", shards=SHARDS, allowed_lateness_ms=LATENESS_MS, last=True
        )
        groups = [sent_on(group) for group in batch.shard_inputs]
        visited = [sent_on(one) for g in groups for one in devices[g.shard].process(g)]
        for regrouped in regroup(visited, SHARDS):
            message = sent_on(regrouped)
            for part in users[message.shard].process(message):
                sent_on(part)


def sent_on(message: Any) -> Any:
    arrived = pickle.loads(pickle.dumps(message))
    assert type(arrived) is type(message)
    assert arrived == message
    return arrived


def test_props_stay_behind() -> None:
    """No step reads them, and they may be 32 KB."""
    one = event("custom", 1, 0, props=msgspec.Raw(b'{"a":1}'))
    batch = SourceBatcher().batch([one], partition="p", shards=1, allowed_lateness_ms=0)
    assert batch.shard_inputs[0].events == [event("custom", 1, 0)]
    sent_on(batch.shard_inputs[0])


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**63), 2**63 - 1),
        min_size=1,
    )
)
def test_commands_are_packed_as_hiredis_packs_them(arguments: list[Any]) -> None:
    packed = "".join(pack_str(one) if isinstance(one, str) else pack_int(one) for one in arguments)
    assert pack_command(packed, len(arguments)) == hiredis.pack_command(tuple(arguments))
