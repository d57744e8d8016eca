"""A live run: the flow on a Kafka topic, until a flag is set, with epochs below a second."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.errors import BytewaxRuntimeError
from threadpoolctl import threadpool_limits

from flows import metrics
from flows.archive import RedisArchive
from flows.before import RedisBefore
from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.kafka.source import KafkaSource
from flows.kafka.stored import stored_partitions
from flows.outside import seen_from_outside
from flows.personalize import FLOW_ID, build
from flows.placement import ALONE, elsewhere
from flows.pulse import Ticks
from flows.recovery import joined, recovery
from flows.replay import said_by_us, without_cycle_collector
from flows.resuming import check_same_run
from flows.sinks import DeadLetterSink, RedisSink
from flows.stopping import ends_soon
from flows.supervised import is_supervised
from flows.tenure import end_when_lost, fence_in, tenure
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event as Flag

    from flows.placement import Place
    from flows.recovery import Stored
    from state.config import Settings
    from state.store import Fence


def connect(redis_url: str, settings: Settings, fence: Fence | None = None) -> Store:
    """The Redis of a live run; `fence` is what is written under."""
    return Store(
        redis_url,
        timeout_ms=settings.redis.timeout_ms,
        patience_s=settings.redis.patience_s,
        replicas=settings.redis.replicas,
        fence=fence,
        waiting=metrics.redis_waits,
    )


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

    It ends by itself too when the topic has got more partitions.

    Raises UserError for what a person can mend.
    """
    kafka = settings.kafka
    connect(redis_url, settings).check()
    with (
        _stored(recovery_folder, settings) as stored,
        _fence(redis_url, settings, recovery_folder) as fence,
    ):
        if recovery_folder:
            check_same_run(recovery_folder, settings)
        known = (
            stored_partitions(recovery_folder / "store", f"{FLOW_ID}.events")
            if recovery_folder
            else ()
        )
        source = KafkaSource(settings, stop, lists=place.reads, stored=known)
        # What is wrong with Kafka ends this process before it is part of a cluster, which would wait.
        source.list_parts()
        letters = dead_letter_topic(kafka) if kafka.dead_letters else DeadLetterSink(dead_letters)
        redis = RedisSink(lambda: connect(redis_url, settings, fence), measured=True)
        flow = build(
            source,
            redis if place.learns else elsewhere(redis),
            letters if place.learns else elsewhere(letters),
            settings,
            journals=stored.journals if stored else None,
            archive=RedisArchive(lambda: connect(redis_url, settings)),
            changes=change_topic(kafka) if kafka.changes else None,
            before=RedisBefore(connect(redis_url, settings)),
        )
        op.input("pulse", flow, Ticks())
        try:
            # The matrices are small: more threads of BLAS would only take the core Redis works on.
            with (
                seen_from_outside(
                    settings,
                    stuck_s=settings.run.stuck_s,
                    redis_url=redis_url,
                    topic=source,
                    recovery_folder=recovery_folder,
                    worker=place.process,
                    workers=place.processes,
                ),
                ends_soon(stop),
                without_cycle_collector(),
                threadpool_limits(1),
            ):
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
