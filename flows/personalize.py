"""The main sentence: a clickstream into profiles, segments and lists.

Step ids and the flow id are stored names: a renamed one silently restarts its state from empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.process.privacy_key import read_privacy_key
from flows.stateful import stateful_step
from operators.personalize.step import PersonalizeStep
from operators.segments.changes import changes_in
from operators.segments.rules.compiler import load_rules
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.live_batches import coalesce_live
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.dead_letters import Erasure

if TYPE_CHECKING:
    from bytewax.inputs import Source
    from bytewax.operators import KeyedStream
    from bytewax.outputs import Sink

    from operators.segments.changes import OrphanedChangesReader
    from operators.shards.cold_tier import ColdStore
    from state.changes import ChangeFields
    from state.config import Settings
    from state.dead_letters import DeadLetterBatch
    from state.journal import Journals
    from state.messages import (
        BatchOutput,
        DeviceShardInput,
        ShardOutput,
        ShardPart,
        SourceBatch,
        UserShardInput,
    )

FLOW_ID = "personalize"
SINGLE_KEY = "all"


def build(
    events: Source[SourceBatch],
    redis: Sink[tuple[str, BatchOutput]],
    dead_letters: Sink[tuple[str, DeadLetterBatch]],
    settings: Settings,
    journals: Journals | None,
    changes: Sink[tuple[str, list[ChangeFields]]] | None = None,
    *,
    orphaned_changes: OrphanedChangesReader | None = None,
    cold_store: ColdStore | None = None,
) -> Dataflow:
    """events -> visit_devices -> visit_users -> learn -> redis, with dead letters on the side.

    `journals` are those of the recovery folder that keeps the snapshots, if one does; `changes` takes
    what goes into the change stream too. `orphaned_changes` says, in a live run, what former runs
    left in Redis.
    Shoppers that are too many for memory wait in the `cold_store`, which reads what goes to `redis`;
    without one, all stay.
    """
    shards = settings.sessions.shards
    processor_config = ProcessorConfig.from_config(
        settings.sessions,
        settings.profiles,
        settings.state,
        settings.lifecycle,
        load_rules(settings),
        settings.propensity,
        privacy=settings.privacy,
        recovery=settings.recovery,
        privacy_key=read_privacy_key(),
    )

    def by_user_shard(outputs: list[tuple[str, ShardOutput]]) -> list[tuple[str, UserShardInput]]:
        inputs = regroup((visited for _, visited in outputs), shards)
        return [(str(message.shard), message) for message in inputs]

    flow = Dataflow(FLOW_ID)
    batches = op.input("events", flow, events)
    device_inputs = op.flat_map_batch("by_device", batches, _by_device_shard)
    devices = stateful_step(
        "visit_devices",
        device_inputs,
        lambda blob: DeviceShard(processor_config, blob, journals, cold_store),
        journals,
    )
    regrouped = op.flat_map_batch("by_user", devices, by_user_shard)
    users = stateful_step(
        "visit_users",
        regrouped,
        lambda blob: UserShard(processor_config, blob, journals, cold_store),
        journals,
    )
    single_key_parts = op.map("together", users, _to_single_key)
    outputs = stateful_step(
        "learn",
        single_key_parts,
        lambda blob: PersonalizeStep(settings, blob, journals, orphaned_changes=orphaned_changes),
        journals,
    )
    op.output("redis", outputs, redis)
    if changes is not None:
        op.output("changes", op.filter_map("changed", outputs, _changes_of), changes)
    rejected = op.filter_map("rejected", batches, _rejections_of)
    failed = op.filter_map("failed", users, _failures_of)
    erasures = op.filter_map("forgotten", outputs, _erasures_of)
    letters: KeyedStream[DeadLetterBatch] = op.merge("set_aside", rejected, failed, erasures)
    op.output("dead_letters", letters, dead_letters)
    return flow


def _by_device_shard(batches: list[SourceBatch]) -> list[tuple[str, DeviceShardInput]]:
    return [(str(group.shard), group) for group in coalesce_live(batches)]


def _to_single_key(part: tuple[str, ShardPart]) -> tuple[str, ShardPart]:
    return SINGLE_KEY, part[1]


def _changes_of(output: tuple[str, BatchOutput]) -> tuple[str, list[ChangeFields]] | None:
    changes = changes_in(output[1].writes)
    return (SINGLE_KEY, changes) if changes else None


def _rejections_of(batch: SourceBatch) -> tuple[str, DeadLetterBatch] | None:
    return (SINGLE_KEY, [*batch.rejected]) if batch.rejected else None


def _erasures_of(output: tuple[str, BatchOutput]) -> tuple[str, DeadLetterBatch] | None:
    erased = output[1].erased_shoppers
    return (SINGLE_KEY, [Erasure(name) for name in erased]) if erased else None


def _failures_of(part: tuple[str, ShardPart]) -> tuple[str, DeadLetterBatch] | None:
    letters: DeadLetterBatch = [
        letter for visited in part[1].outputs for letter in visited.dead_letters
    ]
    return (SINGLE_KEY, letters) if letters else None


def __getattr__(name: str) -> Dataflow:
    """`flow`, for `python -m bytewax.run flows.personalize:flow`."""
    if name != "flow":
        raise AttributeError(name)
    from flows.commands.bytewax_run import build_for_bytewax_run  # which needs this module

    return build_for_bytewax_run()
