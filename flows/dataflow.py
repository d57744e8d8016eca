"""The dataflow: a clickstream into profiles, segments and lists. One line a step, in stream order.

Change freely, but keep the step ids (`flows/steps.py`): they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows import steps
from flows.process.privacy_key import read_privacy_key
from flows.stateful import single_order, stateful_step
from operators.kpis.step import KpiStep, kpi_events_of
from operators.personalize.step import PersonalizeStep
from operators.personalize.training.clusters import ClusterTrainer, features_of
from operators.personalize.training.item_events import item_events_of
from operators.personalize.training.items import ItemTraining
from operators.personalize.training.propensity import PropensityTrainer, propensity_events_of
from operators.segments.changes import changes_in
from operators.segments.rules.compiler import load_rules
from operators.shards.batch_order import turn_of
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.live_batches import coalesce_live
from operators.shards.sharding import join_parts, regroup, sortable_parts
from operators.shards.user_shard import UserShard
from state.dead_letters import Erasure

if TYPE_CHECKING:
    from bytewax.dataflow import Stream
    from bytewax.inputs import Source
    from bytewax.operators import KeyedStream
    from bytewax.outputs import Sink

    from operators.personalize.step import PersonalizeInput, Trained
    from operators.segments.changes import OrphanedChangesReader
    from operators.shards.cold_tier import ColdStore
    from state.changes import ChangeFields
    from state.config import Settings
    from state.dead_letters import DeadLetterBatch
    from state.journal import Journals
    from state.messages import (
        BatchOutput,
        BatchTurn,
        DeviceShardInput,
        KpiEvents,
        ShardOutput,
        ShardPart,
        SourceBatch,
        UserShardInput,
    )
    from state.training import ClusterFeatures, ItemEvents, PropensityEvents

    DeviceInput = DeviceShardInput | BatchTurn

M = TypeVar("M")


@dataclass(frozen=True)
class Sinks:
    """Where results go; `changes` receives a copy of the change streams, if it is set."""

    redis: Sink[tuple[str, BatchOutput]]
    dead_letters: Sink[tuple[str, DeadLetterBatch]]
    changes: Sink[tuple[str, list[ChangeFields]]] | None = None


@dataclass(frozen=True)
class StateStores:
    """Where state is kept beside memory. Without `journals` no state is stored.

    `cold_store` reads the rows of shoppers that were evicted from memory; without it none is evicted.
    `orphaned_changes` reads the changes that a crashed live run published after its last snapshot.
    """

    journals: Journals | None = None
    cold_store: ColdStore | None = None
    orphaned_changes: OrphanedChangesReader | None = None


def build(
    events: Source[SourceBatch], sinks: Sinks, settings: Settings, stores: StateStores
) -> Dataflow:
    """events -> identify -> sessionize -> {train clusters, propensity, items} -> personalize -> redis,
    with key figures and dead letters on the side. Device shards take batches in the order of the step
    `order`."""
    journals, cold_store = stores.journals, stores.cold_store
    config = replace(_processor_config(settings), writes_changes_only=journals is not None)

    def device_shard(snapshot: bytes | None) -> DeviceShard:
        return DeviceShard(config, snapshot, journals, cold_store)

    def user_shard(snapshot: bytes | None) -> UserShard:
        return UserShard(config, snapshot, journals, cold_store)

    def cluster_trainer(snapshot: bytes | None) -> ClusterTrainer:
        return ClusterTrainer(settings, snapshot, journals)

    def propensity_trainer(snapshot: bytes | None) -> PropensityTrainer:
        return PropensityTrainer(settings, snapshot, journals)

    def item_training(snapshot: bytes | None) -> ItemTraining:
        return ItemTraining(settings, snapshot, journals)

    def personalize(snapshot: bytes | None) -> PersonalizeStep:
        return PersonalizeStep(
            settings, snapshot, journals, orphaned_changes=stores.orphaned_changes
        )

    by_shopper_shard = partial(_by_shopper_shard, config.shards)
    flow = Dataflow(steps.FLOW_ID)
    batches = op.input(steps.EVENTS, flow, events)
    device_inputs = op.flat_map_batch(steps.BY_DEVICE, batches, _by_device_shard)
    in_order = _with_turns(device_inputs, config.shards)
    devices = stateful_step(steps.IDENTIFY, in_order, device_shard, journals)
    shopper_inputs = op.flat_map_batch(steps.BY_SHOPPER, devices, by_shopper_shard)
    shoppers = stateful_step(steps.SESSIONIZE, shopper_inputs, user_shard, journals)
    parts = op.flat_map_batch(steps.TOGETHER, shoppers, _joined_parts)
    sortable = op.flat_map(steps.SORTABLE, parts, partial(_sortable_parts, config.shards))
    features = op.map(steps.FEATURES_OF, sortable, _features_of)
    clusters = stateful_step(steps.TRAIN_CLUSTERS, features, cluster_trainer, journals)
    outcomes = op.map(steps.OUTCOMES_OF, sortable, _outcomes_of)
    propensity = stateful_step(steps.TRAIN_PROPENSITY, outcomes, propensity_trainer, journals)
    entries = op.map(steps.INTERACTIONS_OF, sortable, _item_events)
    items = stateful_step(steps.TRAIN_ITEMS, entries, item_training, journals)
    trained: KeyedStream[Trained] = op.merge(steps.TRAINED, clusters, propensity, items)
    models = op.map(steps.MODELS, trained, _to_single_key)
    inputs: KeyedStream[PersonalizeInput] = op.merge(steps.JOINED, parts, models)
    outputs = stateful_step(steps.PERSONALIZE, inputs, personalize, journals)
    written = _with_kpis(parts, outputs, settings, journals) if settings.kpis.enabled else outputs
    op.output(steps.REDIS, written, sinks.redis)
    if sinks.changes is not None:
        op.output(steps.CHANGES, op.filter_map(steps.CHANGED, outputs, _changes_of), sinks.changes)
    op.output(steps.DEAD_LETTERS, _set_aside(batches, parts, outputs), sinks.dead_letters)
    return flow


def _with_kpis(
    parts: KeyedStream[ShardPart],
    outputs: KeyedStream[BatchOutput],
    settings: Settings,
    journals: Journals | None,
) -> KeyedStream[BatchOutput]:
    """What is written to Redis, with the key figures."""

    def kpis(snapshot: bytes | None) -> KpiStep:
        return KpiStep(settings, snapshot, journals)

    counted = op.map(steps.KPI_EVENTS_OF, parts, _kpi_events)
    figures = stateful_step(steps.KPIS, counted, kpis, journals)
    return op.merge(steps.WRITTEN, outputs, op.map(steps.KPI_WRITES, figures, _to_single_key))


def _with_turns(
    device_inputs: KeyedStream[DeviceShardInput], shards: int
) -> KeyedStream[DeviceInput]:
    """The inputs of device shards, and the one order in which all shards take them."""

    def to_all_shards(turn: tuple[str, BatchTurn]) -> list[tuple[str, BatchTurn]]:
        return [(str(shard), turn[1]) for shard in range(shards)]

    arrived = op.filter_map(steps.ARRIVED, device_inputs, _turn_of)
    turns = op.flat_map(steps.TURNS, single_order(steps.ORDER, arrived), to_all_shards)
    return op.merge(steps.IN_ORDER, device_inputs, turns)


def _set_aside(
    batches: Stream[SourceBatch],
    parts: KeyedStream[ShardPart],
    outputs: KeyedStream[BatchOutput],
) -> KeyedStream[DeadLetterBatch]:
    """Dead letters of the source and of the shards, and who was erased."""
    rejected = op.filter_map(steps.REJECTED, batches, _rejections_of)
    failed = op.filter_map(steps.FAILED, parts, _failures_of)
    erased = op.filter_map(steps.ERASED, outputs, _erasures_of)
    return op.merge(steps.SET_ASIDE, rejected, failed, erased)


def _processor_config(settings: Settings) -> ProcessorConfig:
    return ProcessorConfig.from_config(
        settings.sessions,
        settings.profiles,
        settings.state,
        settings.lifecycle,
        load_rules(settings),
        settings.propensity,
        privacy=settings.privacy,
        recovery=settings.recovery,
        privacy_key=read_privacy_key(),
        counts_kpis=settings.kpis.enabled,
    )


def _by_device_shard(batches: list[SourceBatch]) -> list[tuple[str, DeviceShardInput]]:
    return [(str(message.shard), message) for message in coalesce_live(batches)]


def _by_shopper_shard(
    shards: int, outputs: list[tuple[str, ShardOutput]]
) -> list[tuple[str, UserShardInput]]:
    inputs = regroup((output for _, output in outputs), shards)
    return [(str(message.shard), message) for message in inputs]


def _turn_of(message: tuple[str, DeviceShardInput]) -> tuple[str, BatchTurn] | None:
    turn = turn_of(message[1])
    return None if turn is None else (steps.ORDER_KEY, turn)


def _joined_parts(parts: list[tuple[str, ShardPart]]) -> list[tuple[str, ShardPart]]:
    return [(steps.SINGLE_KEY, part) for part in join_parts(part for _, part in parts)]


def _sortable_parts(shards: int, part: tuple[str, ShardPart]) -> list[tuple[str, ShardPart]]:
    return [(part[0], one) for one in sortable_parts(part[1], shards)]


def _features_of(part: tuple[str, ShardPart]) -> tuple[str, ClusterFeatures]:
    return steps.CLUSTERS_KEY, features_of(part[1])


def _outcomes_of(part: tuple[str, ShardPart]) -> tuple[str, PropensityEvents]:
    return steps.PROPENSITY_KEY, propensity_events_of(part[1])


def _item_events(part: tuple[str, ShardPart]) -> tuple[str, ItemEvents]:
    return steps.ITEMS_KEY, item_events_of(part[1])


def _kpi_events(part: tuple[str, ShardPart]) -> tuple[str, KpiEvents]:
    return steps.KPIS_KEY, kpi_events_of(part[1])


def _to_single_key(message: tuple[str, M]) -> tuple[str, M]:
    return steps.SINGLE_KEY, message[1]


def _changes_of(output: tuple[str, BatchOutput]) -> tuple[str, list[ChangeFields]] | None:
    changes = changes_in(output[1].writes)
    return (steps.SINGLE_KEY, changes) if changes else None


def _rejections_of(batch: SourceBatch) -> tuple[str, DeadLetterBatch] | None:
    return (steps.SINGLE_KEY, [*batch.rejected]) if batch.rejected else None


def _erasures_of(output: tuple[str, BatchOutput]) -> tuple[str, DeadLetterBatch] | None:
    erased = output[1].erased_shoppers
    return (steps.SINGLE_KEY, [Erasure(name) for name in erased]) if erased else None


def _failures_of(part: tuple[str, ShardPart]) -> tuple[str, DeadLetterBatch] | None:
    letters: DeadLetterBatch = [
        letter for output in part[1].outputs for letter in output.dead_letters
    ]
    return (steps.SINGLE_KEY, letters) if letters else None
