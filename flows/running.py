"""A live run: the flow on a Kafka topic, until a flag is set, with epochs below a second."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.errors import BytewaxRuntimeError
from threadpoolctl import threadpool_limits

from flows.archive import RedisArchive
from flows.before import RedisBefore
from flows.beginning import connect, kafka_answers, redis_answers, redis_is_whole
from flows.cycles import without_cycle_collector
from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.kafka.source import KafkaSource
from flows.kafka.stored import stored_partitions
from flows.outside import seen_from_outside
from flows.personalize import FLOW_ID, build
from flows.placement import ALONE, elsewhere
from flows.pulse import Ticks
from flows.recovery import joined, recovery
from flows.replay import said_by_us
from flows.resuming import check_same_run
from flows.retelling import watched
from flows.sinks import DeadLetterSink, RedisSink
from flows.stopping import end_process, ends_soon
from flows.supervised import is_supervised
from flows.tenure import end_when_lost, fence_in, tenure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event as Flag

    from bytewax.dataflow import Dataflow

    from flows.placement import Place
    from flows.recovery import Stored
    from state.config import Settings
    from state.journal import Journals
    from state.store import Fence


def run_live(
    settings: Settings,
    stop: Flag,
    *,
    place: Place = ALONE,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None,
) -> None:
    """Run one process until `stop` is set, then end between two batches with everything written.

    It ends by itself too when the topic has got more partitions, or Redis has lost what was written.
    A Redis or Kafka that is away at the start is waited for.

    Raises UserError for what a person can mend.
    """
    folder = recovery_folder
    with _stored(folder, settings) as stored, ExitStack() as until_the_end:
        if folder:
            check_same_run(folder, settings)
        known = stored_partitions(folder / "store", f"{FLOW_ID}.events") if folder else ()
        source = KafkaSource(settings, stop, lists=place.reads, stored=known)
        enter = until_the_end.enter_context
        enter(
            seen_from_outside(
                settings,
                stuck_s=settings.run.stuck_s,
                redis_url=redis_url,
                topic=source,
                recovery_folder=folder,
                worker=place.process,
                workers=place.processes,
            )
        )
        enter(ends_soon(stop))
        # What is wrong with Kafka ends this process before it is part of a cluster, which would wait.
        if not (redis_answers(redis_url, settings, stop) and kafka_answers(source, stop)):
            return
        fence = enter(_fence(redis_url, settings, folder))
        if not is_supervised() and not redis_is_whole(
            redis_url, settings, stop, folder, stored, fence
        ):
            return
        flow = live_flow(
            source,
            settings,
            place=place,
            redis_url=redis_url,
            dead_letters=dead_letters,
            journals=stored.journals if stored else None,
            fence=fence,
        )
        if folder is not None and place.learns:
            lost = end_process if place.addresses else source.end
            enter(watched(connect(redis_url, settings), folder, lost))
        try:
            # The matrices are small: more threads of BLAS would only take the core Redis works on.
            with without_cycle_collector(), threadpool_limits(1):
                cli_main(
                    flow,
                    process_id=place.process if place.addresses else None,
                    addresses=list(place.addresses) or None,
                    epoch_interval=timedelta(milliseconds=settings.source.epoch_ms),
                    recovery_config=stored.config if stored else None,
                )
        except BytewaxRuntimeError as error:
            if said := said_by_us(error):
                raise said from None
            raise
        source.finish()


def live_flow(
    source: KafkaSource,
    settings: Settings,
    *,
    place: Place,
    redis_url: str,
    dead_letters: Path,
    journals: Journals | None,
    fence: Fence | None,
) -> Dataflow:
    """The flow from Kafka to Redis, as one process of a run has it."""
    kafka = settings.kafka
    letters = dead_letter_topic(kafka) if kafka.dead_letters else DeadLetterSink(dead_letters)
    redis = RedisSink(partial(connect, redis_url, settings, fence), measured=True)
    flow = build(
        source,
        redis if place.learns else elsewhere(redis),
        letters if place.learns else elsewhere(letters),
        settings,
        journals=journals,
        archive=RedisArchive(lambda: connect(redis_url, settings)),
        changes=change_topic(kafka) if kafka.changes else None,
        before=RedisBefore(connect(redis_url, settings)),
    )
    op.input("pulse", flow, Ticks())
    return flow


def _stored(folder: Path | None, settings: Settings) -> AbstractContextManager[Stored | None]:
    if folder is not None and is_supervised():
        return joined(folder, settings)
    return recovery(folder, settings)


@contextmanager
def _fence(redis_url: str, settings: Settings, folder: Path | None) -> Iterator[Fence]:
    """What this process writes under: its own lease, or its supervisor's."""
    if folder is not None and is_supervised():
        yield fence_in(folder)
        return
    with tenure(redis_url, settings, folder) as lease:
        end_when_lost(lease)
        yield lease.fence
