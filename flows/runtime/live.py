"""A live run: the flow on a Kafka topic, until a flag is set, with epochs shorter than a second."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from bytewax._bytewax import cli_main
from bytewax.errors import BytewaxRuntimeError
from threadpoolctl import threadpool_limits

from flows import steps
from flows.cluster.dependencies import ensure_redis_current, wait_for_log, wait_for_redis
from flows.cluster.event_source import open_source
from flows.cluster.follower import follow_leader
from flows.cluster.leadership import exit_on_lease_loss, writer_lease
from flows.cluster.peer_monitor import monitor_peers
from flows.cluster.rendezvous import Rendezvous
from flows.cluster.worker_process import is_supervised
from flows.kafka.stored_partitions import stored_partitions
from flows.observability.exposition import expose_process
from flows.process.gc_control import gc_disabled
from flows.process.kernel_cache import prepare_kernels
from flows.process.panics import is_peer_disconnect
from flows.process.shutdown import (
    exit_if_stopped_early,
    exit_process,
    kill_after_grace,
    mark_threads_running,
)
from flows.recovery.folder import open_recovery, open_shared
from flows.recovery.owner import read_fence
from flows.recovery.redis_rebuild import monitor_marker
from flows.recovery.run_identity import check_same_run
from flows.runtime.errors import user_error_in
from flows.runtime.live_flow import live_flow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from bytewax.dataflow import Dataflow

    from flows.cluster.run_context import RunContext
    from flows.recovery.folder import RecoveryStore
    from flows.sources.live_source import LiveSource
    from state.store import Fence

_log = logging.getLogger("penstock.meeting")  # public: a field of JSON logs


def run_live(context: RunContext) -> None:
    """Run one process until it is asked to stop, then end between two batches with everything written.

    It also returns when the topic has new partitions or Redis has lost data, to be called again. It
    waits for a Redis or Kafka that is away at the start.

    Raises UserError for problems that a person must fix.
    """
    position, folder, stop = context.position, context.recovery_folder, context.stop
    with ExitStack() as exit_stack:
        enter_context = exit_stack.enter_context
        source = open_source(context, is_reader=position.reads_topic)
        recovery_store = None
        if _opens_recovery(context):
            recovery_store = enter_context(_open_store(context))
            if folder:
                check_same_run(folder, context.settings)
                source.known_partitions = stored_partitions(
                    folder / "store", steps.stored_id(steps.EVENTS)
                )
        enter_context(_expose(context, source))
        enter_context(kill_after_grace(stop))
        if not wait_for_redis(context):
            return
        rendezvous = enter_context(Rendezvous(context)) if _is_across_hosts(context) else None
        role = enter_context(_acquire_role(context, source, recovery_store, rendezvous))
        if role is None:
            return
        recovery_store, fence = role
        journals = recovery_store.journals if recovery_store else None
        flow = live_flow(source, context, journals=journals, fence=fence)
        if folder is not None and position.owns_learn_key:
            on_data_loss = exit_process if position.addresses else source.request_stop
            enter_context(monitor_marker(context.connect(), folder, on_data_loss))
        if rendezvous:
            enter_context(monitor_peers(rendezvous, source, context.settings.run))
        if position.addresses:
            mark_threads_running()
            enter_context(exit_if_stopped_early(stop))
        _run_flow(flow, context, recovery_store)
        source.commit_final_offsets()
        if rendezvous and not stop.is_set():
            _log.warning(
                "another process was asked to stop, so the run ended cleanly: restart this process"
            )


def _is_across_hosts(context: RunContext) -> bool:
    return bool(context.position.addresses) and not is_supervised()


def _opens_recovery(context: RunContext) -> bool:
    """Whether this process opens the recovery folder before it knows its role."""
    return not (_is_across_hosts(context) and context.position.process)


def _open_store(context: RunContext) -> AbstractContextManager[RecoveryStore | None]:
    folder = context.recovery_folder
    if folder is not None and is_supervised():
        return open_shared(folder, context.settings)
    return open_recovery(folder, context.settings)


def _expose(context: RunContext, source: LiveSource) -> AbstractContextManager[str]:
    return expose_process(
        context.settings,
        context.redis_url,
        source,
        recovery_folder=context.recovery_folder if _opens_recovery(context) else None,
        worker=context.position.process,
        workers=context.position.process_count,
        shares_host=is_supervised(),
    )


@contextmanager
def _acquire_role(
    context: RunContext,
    source: LiveSource,
    recovery_store: RecoveryStore | None,
    rendezvous: Rendezvous | None,
) -> Iterator[tuple[RecoveryStore | None, Fence] | None]:
    """Give the recovery store and the fence: of our own lease, or of the leader's.

    Gives None if the run was asked to stop first. A problem with Kafka ends the process here, before it
    is part of a cluster, which would wait for it. Kernels are compiled into the recovery folder once the
    process has its role: one that is refused leaves nothing there.
    """
    folder, settings = context.recovery_folder, context.settings
    if folder and rendezvous and not rendezvous.is_leader:
        with follow_leader(rendezvous, source, context, folder) as role:
            if role is not None:
                prepare_kernels(settings, folder)
            yield role
    elif not wait_for_log(source, context):
        yield None
    elif folder and is_supervised():
        prepare_kernels(settings, folder)
        yield recovery_store, read_fence(folder)
    else:
        with writer_lease(context) as lease:
            exit_on_lease_loss(lease)
            is_ready = ensure_redis_current(context, recovery_store, lease.fence) and (
                rendezvous is None
                or rendezvous.admit_followers(lease.fence.token, tuple(source.known_partitions))
            )
            if is_ready:  # only now, since the followers wait for this process until then
                prepare_kernels(settings, folder)
            yield (recovery_store, lease.fence) if is_ready else None


def _run_flow(flow: Dataflow, context: RunContext, recovery_store: RecoveryStore | None) -> None:
    position = context.position
    try:
        # The matrices are small: more BLAS threads would only take the core that Redis uses.
        with gc_disabled(), threadpool_limits(1):
            cli_main(
                flow,
                process_id=position.process if position.addresses else None,
                addresses=list(position.addresses) or None,
                epoch_interval=timedelta(milliseconds=context.settings.source.epoch_ms),
                recovery_config=recovery_store.config if recovery_store else None,
            )
    except BytewaxRuntimeError as error:
        if user_error := user_error_in(error):
            raise user_error from None
        raise
    except BaseException as error:  # a panic of Bytewax is not an Exception
        if _is_across_hosts(context) and is_peer_disconnect(error):
            _log.error("another process disconnected: this one ends, to be restarted with it")
            exit_process()
        raise
