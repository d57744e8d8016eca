"""A live run: the flow on a Kafka topic, until a flag is set, with epochs shorter than a second."""

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

from flows.cluster.dependencies import connect, ensure_redis_current, wait_for_kafka, wait_for_redis
from flows.cluster.follower import follow_leader
from flows.cluster.leadership import exit_on_lease_loss, read_fence, writer_lease
from flows.cluster.placement import SINGLE_PROCESS, without_partitions
from flows.cluster.rendezvous import Rendezvous
from flows.cluster.worker_process import is_supervised
from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.kafka.source import KafkaSource
from flows.kafka.stored_partitions import stored_partitions
from flows.observability.exposition import expose_process
from flows.personalize import FLOW_ID, build
from flows.process.gc_control import gc_disabled
from flows.process.liveness import TickSource
from flows.process.panics import is_peer_disconnect
from flows.process.shutdown import (
    exit_if_stopped_early,
    exit_process,
    kill_after_grace,
    mark_threads_running,
)
from flows.recovery.cold_store import RedisColdStore
from flows.recovery.folder import open_recovery, open_shared
from flows.recovery.orphaned_changes import ChangeStreamReader
from flows.recovery.redis_rebuild import monitor_marker
from flows.recovery.run_identity import check_same_run
from flows.runtime.replay import user_error_in
from flows.sinks.redis import DeadLetterSink, RedisSink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from threading import Event as Flag

    from bytewax.dataflow import Dataflow

    from flows.cluster.placement import ClusterPosition
    from flows.recovery.folder import RecoveryStore
    from state.config import Settings
    from state.journal import Journals
    from state.store import Fence

_log = logging.getLogger("penstock.meeting")


def run_live(
    settings: Settings,
    stop: Flag,
    *,
    position: ClusterPosition = SINGLE_PROCESS,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None,
) -> None:
    """Run one process until `stop` is set, then end between two batches with everything written.

    It also returns when the topic has new partitions or Redis has lost data, to be called again. It
    waits for a Redis or Kafka that is away at the start.

    Raises UserError for problems that a person must fix.
    """
    folder = recovery_folder
    across_hosts = bool(position.addresses) and not is_supervised()
    with ExitStack() as exit_stack:
        enter_context = exit_stack.enter_context
        source = KafkaSource(settings, stop, is_reader=position.reads_topic)
        recovery_store: RecoveryStore | None = None
        opens_recovery = not (across_hosts and position.process)
        if opens_recovery:
            recovery_store = enter_context(_open_store(folder, settings))
            if folder:
                check_same_run(folder, settings)
                source.known_partitions = stored_partitions(folder / "store", f"{FLOW_ID}.events")
        enter_context(
            expose_process(
                settings,
                stuck_s=settings.run.stuck_s,
                redis_url=redis_url,
                topic=source,
                recovery_folder=folder if opens_recovery else None,
                worker=position.process,
                workers=position.process_count,
                shares_host=is_supervised(),
            )
        )
        enter_context(kill_after_grace(stop))
        if not wait_for_redis(redis_url, settings, stop):
            return
        rendezvous = (
            enter_context(Rendezvous(redis_url, settings, position, stop)) if across_hosts else None
        )
        role = enter_context(
            _acquire_role(source, settings, stop, redis_url, folder, recovery_store, rendezvous)
        )
        if role is None:
            return
        recovery_store, fence = role
        flow = live_flow(
            source,
            settings,
            position=position,
            redis_url=redis_url,
            dead_letters=dead_letters,
            journals=recovery_store.journals if recovery_store else None,
            fence=fence,
        )
        if folder is not None and position.owns_learn_key:
            on_data_loss = exit_process if position.addresses else source.request_stop
            enter_context(monitor_marker(connect(redis_url, settings), folder, on_data_loss))
        if rendezvous:
            enter_context(rendezvous.monitored(source))
        if position.addresses:
            mark_threads_running()
            enter_context(exit_if_stopped_early(stop))
        _run_flow(flow, settings, position, recovery_store, across_hosts=across_hosts)
        source.commit_final_offsets()
        if rendezvous and not stop.is_set():
            _log.warning(
                "another process was asked to stop, so the run ended cleanly: restart this process"
            )


def _run_flow(
    flow: Dataflow,
    settings: Settings,
    position: ClusterPosition,
    recovery_store: RecoveryStore | None,
    *,
    across_hosts: bool,
) -> None:
    try:
        # The matrices are small: more BLAS threads would only take the core that Redis uses.
        with gc_disabled(), threadpool_limits(1):
            cli_main(
                flow,
                process_id=position.process if position.addresses else None,
                addresses=list(position.addresses) or None,
                epoch_interval=timedelta(milliseconds=settings.source.epoch_ms),
                recovery_config=recovery_store.config if recovery_store else None,
            )
    except BytewaxRuntimeError as error:
        if user_error := user_error_in(error):
            raise user_error from None
        raise
    except BaseException as error:  # a panic of Bytewax is not an Exception
        if across_hosts and is_peer_disconnect(error):
            _log.error("another process disconnected: this one ends, to be restarted with it")
            exit_process()
        raise


def live_flow(
    source: KafkaSource,
    settings: Settings,
    *,
    position: ClusterPosition,
    redis_url: str,
    dead_letters: Path,
    journals: Journals | None,
    fence: Fence | None,
) -> Dataflow:
    """Build the flow from Kafka to Redis for one process of a run."""
    kafka = settings.kafka
    dead_letter_sink = (
        dead_letter_topic(kafka) if kafka.dead_letters else DeadLetterSink(dead_letters)
    )
    redis_sink = RedisSink(
        partial(connect, redis_url, settings, fence),
        is_measured=True,
        notice_days=settings.privacy.notice_days,
    )
    fence_store = connect(redis_url, settings)

    def verify_owner() -> None:
        if fence is not None:
            fence.verify(fence_store.get_strings([fence.token_key])[0])

    flow = build(
        source,
        redis_sink if position.owns_learn_key else without_partitions(redis_sink),
        dead_letter_sink if position.owns_learn_key else without_partitions(dead_letter_sink),
        settings,
        journals=journals,
        cold_store=RedisColdStore(lambda: connect(redis_url, settings)),
        changes=change_topic(kafka, verify_owner) if kafka.changes else None,
        orphaned_changes=ChangeStreamReader(connect(redis_url, settings)),
    )
    op.input("pulse", flow, TickSource())
    return flow


def _open_store(
    folder: Path | None, settings: Settings
) -> AbstractContextManager[RecoveryStore | None]:
    if folder is not None and is_supervised():
        return open_shared(folder, settings)
    return open_recovery(folder, settings)


@contextmanager
def _acquire_role(
    source: KafkaSource,
    settings: Settings,
    stop: Flag,
    redis_url: str,
    folder: Path | None,
    recovery_store: RecoveryStore | None,
    rendezvous: Rendezvous | None,
) -> Iterator[tuple[RecoveryStore | None, Fence] | None]:
    """Give the recovery store and the fencing token: of our own lease, or of the leader's.

    Gives None if `stop` was set first. A problem with Kafka ends the process here, before it is
    part of a cluster, which would wait for it.
    """
    if folder and rendezvous and not rendezvous.is_leader:
        with follow_leader(rendezvous, source, settings, stop, folder) as role:
            yield role
    elif not wait_for_kafka(source, stop):
        yield None
    elif folder and is_supervised():
        yield recovery_store, read_fence(folder)
    else:
        with writer_lease(redis_url, settings, folder) as lease:
            exit_on_lease_loss(lease)
            is_ready = ensure_redis_current(
                redis_url, settings, stop, folder, recovery_store, lease.fence
            ) and (
                rendezvous is None
                or rendezvous.admit_followers(lease.fence.token, tuple(source.known_partitions))
            )
            yield (recovery_store, lease.fence) if is_ready else None
