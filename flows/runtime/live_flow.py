"""The dataflow of a live run, from Kafka to Redis, with its sinks in the process that learns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import bytewax.operators as op

from flows import steps
from flows.cluster.placement import without_partitions
from flows.dataflow import Sinks, StateStores, build
from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.process.liveness import TickSource
from flows.recovery.cold_store import RedisColdStore
from flows.recovery.orphaned_changes import ChangeStreamReader
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow

    from flows.cluster.run_context import RunContext
    from flows.sources.live_source import LiveSource
    from state.journal import Journals
    from state.store import Fence


def live_flow(
    source: LiveSource, context: RunContext, *, journals: Journals | None, fence: Fence | None
) -> Dataflow:
    """Build the flow from Kafka to Redis for one process of a run, which writes under `fence`."""
    sinks = _sinks(context, fence)
    stores = StateStores(
        journals,
        cold_store=RedisColdStore(context.connect),
        orphaned_changes=ChangeStreamReader(context.connect()),
    )
    flow = build(source, sinks, context.settings, stores)
    op.input(steps.TICKS, flow, TickSource())
    return flow


def _sinks(context: RunContext, fence: Fence | None) -> Sinks:
    settings, kafka = context.settings, context.settings.kafka
    redis = RedisSink(
        partial(context.connect, fence),
        is_measured=True,
        notice_days=settings.privacy.notice_days,
    )
    dead_letters = (
        dead_letter_topic(kafka) if kafka.dead_letters else DeadLetterSink(context.dead_letters)
    )
    fence_store = context.connect()

    def verify_owner() -> None:
        if fence is not None:
            fence.verify(fence_store.get_strings([fence.token_key])[0])

    is_writer = context.position.owns_learn_key
    return Sinks(
        redis if is_writer else without_partitions(redis),
        dead_letters if is_writer else without_partitions(dead_letters),
        change_topic(kafka, verify_owner) if kafka.changes else None,
    )
