"""A live run: the flow on a Kafka topic, until a flag is set, with epochs below a second."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.errors import BytewaxRuntimeError
from threadpoolctl import threadpool_limits

from flows.cluster.dependencies import connect, kafka_answers, redis_answers, redis_is_whole
from flows.cluster.follower import following
from flows.cluster.leadership import end_when_lost, fence_in, tenure
from flows.cluster.placement import ALONE, elsewhere
from flows.cluster.rendezvous import Meeting
from flows.cluster.worker_process import is_supervised
from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.kafka.source import KafkaSource
from flows.kafka.stored_partitions import stored_partitions
from flows.observability.exposition import seen_from_outside
from flows.personalize import FLOW_ID, build
from flows.process.gc_control import without_cycle_collector
from flows.process.liveness import Ticks
from flows.process.panics import is_lost_peer
from flows.process.shutdown import end_process, ends_before_it_begins, ends_soon, threads_stay
from flows.recovery.cold_store import RedisArchive
from flows.recovery.folder import joined, recovery
from flows.recovery.orphaned_changes import RedisBefore
from flows.recovery.redis_rebuild import watched
from flows.recovery.run_identity import check_same_run
from flows.runtime.replay import said_by_us
from flows.sinks.redis import DeadLetterSink, RedisSink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event as Flag

    from bytewax.dataflow import Dataflow

    from flows.cluster.placement import Place
    from flows.recovery.folder import Stored
    from state.config import Settings
    from state.journal import Journals
    from state.store import Fence

_log = logging.getLogger("penstock.meeting")


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
    across_hosts = bool(place.addresses) and not is_supervised()
    with ExitStack() as until_the_end:
        enter = until_the_end.enter_context
        source = KafkaSource(settings, stop, lists=place.reads)
        stored: Stored | None = None
        is_first = not (across_hosts and place.process)
        if is_first:
            stored = enter(_stored(folder, settings))
            if folder:
                check_same_run(folder, settings)
                source.stored = stored_partitions(folder / "store", f"{FLOW_ID}.events")
        enter(
            seen_from_outside(
                settings,
                stuck_s=settings.run.stuck_s,
                redis_url=redis_url,
                topic=source,
                recovery_folder=folder if is_first else None,
                worker=place.process,
                workers=place.processes,
                share_a_host=is_supervised(),
            )
        )
        enter(ends_soon(stop))
        if not redis_answers(redis_url, settings, stop):
            return
        meeting = enter(Meeting(redis_url, settings, place, stop)) if across_hosts else None
        part = enter(_part(source, settings, stop, redis_url, folder, stored, meeting))
        if part is None:
            return
        stored, fence = part
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
        if meeting:
            enter(meeting.kept(source))
        if place.addresses:
            threads_stay()
            enter(ends_before_it_begins(stop))
        _run(flow, settings, place, stored, across_hosts=across_hosts)
        source.finish()
        if meeting and not stop.is_set():
            _log.warning(
                "the run ends in peace, asked for elsewhere: this process is to start again"
            )


def _run(
    flow: Dataflow, settings: Settings, place: Place, stored: Stored | None, *, across_hosts: bool
) -> None:
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
    except BaseException as error:  # a panic of Bytewax is not an Exception
        if across_hosts and is_lost_peer(error):
            _log.error("another process hung up: this one ends, to start and meet again")
            end_process()
        raise


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
    redis = RedisSink(
        partial(connect, redis_url, settings, fence),
        measured=True,
        notice_days=settings.privacy.notice_days,
    )
    asked = connect(redis_url, settings)

    def verify() -> None:
        if fence is not None:
            fence.verify(asked.values([fence.token_key])[0])

    flow = build(
        source,
        redis if place.learns else elsewhere(redis),
        letters if place.learns else elsewhere(letters),
        settings,
        journals=journals,
        archive=RedisArchive(lambda: connect(redis_url, settings)),
        changes=change_topic(kafka, verify) if kafka.changes else None,
        before=RedisBefore(connect(redis_url, settings)),
    )
    op.input("pulse", flow, Ticks())
    return flow


def _stored(folder: Path | None, settings: Settings) -> AbstractContextManager[Stored | None]:
    if folder is not None and is_supervised():
        return joined(folder, settings)
    return recovery(folder, settings)


@contextmanager
def _part(
    source: KafkaSource,
    settings: Settings,
    stop: Flag,
    redis_url: str,
    folder: Path | None,
    stored: Stored | None,
    meeting: Meeting | None,
) -> Iterator[tuple[Stored | None, Fence] | None]:
    """What this process resumes, and what it writes under: its own lease, or that of who began it.

    None: `stop` came first. What is wrong with Kafka ends the process here, before it is part of a
    cluster, which would wait for it.
    """
    if folder and meeting and not meeting.leads:
        with following(meeting, source, settings, stop, folder) as found:
            yield found
    elif not kafka_answers(source, stop):
        yield None
    elif folder and is_supervised():
        yield stored, fence_in(folder)
    else:
        with tenure(redis_url, settings, folder) as lease:
            end_when_lost(lease)
            is_ready = redis_is_whole(redis_url, settings, stop, folder, stored, lease.fence) and (
                meeting is None or meeting.lead(lease.fence.token, tuple(source.stored))
            )
            yield (stored, lease.fence) if is_ready else None
