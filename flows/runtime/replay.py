"""A replay: recorded events through the same dataflow as a live run, to their end."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import run_main
from threadpoolctl import threadpool_limits

from flows.dataflow import Sinks, StateStores, build
from flows.process.gc_control import gc_disabled
from flows.process.kernel_cache import prepare_kernels
from flows.recovery.cold_store import RedisColdStore
from flows.recovery.folder import open_recovery
from flows.recovery.redis_rebuild import rebuild_if_stale
from flows.runtime.errors import user_error_in
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bytewax.inputs import Source

    from flows.recovery.folder import RecoveryStore
    from flows.sources.recorded import Records
    from state.config import Settings
    from state.messages import SourceBatch


def replay_recordings(
    recordings: dict[str, Records],
    settings: Settings,
    *,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None = None,
) -> None:
    """Run recordings through the flow to their end, in this process, with one worker.

    Raises UserError for problems that a person must fix: an unreachable Redis, a damaged input
    (after its readable part was processed), a recovery folder in use.
    """
    source = RecordedSource(recordings, settings)
    replay_source(
        source,
        settings,
        redis_url=redis_url,
        dead_letters=dead_letters,
        recovery_folder=recovery_folder,
    )
    if source.failure is not None:
        raise source.failure


def replay_source(
    source: Source[SourceBatch],
    settings: Settings,
    *,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None = None,
) -> None:
    """Run any source through the flow until it ends. Raises UserError as `replay_recordings` does."""

    def connect() -> Store:
        return Store(
            redis_url,
            timeout_ms=settings.redis.timeout_ms,
            patience_s=settings.redis.patience_s,
            replicas=settings.redis.replicas,
        )

    connect().check()
    with open_recovery(recovery_folder, settings) as recovery_store:
        sinks = Sinks(
            RedisSink(connect, notice_days=settings.privacy.notice_days),
            DeadLetterSink(dead_letters),
        )
        stores = StateStores(
            recovery_store.journals if recovery_store else None,
            cold_store=RedisColdStore(connect),
        )
        prepare_kernels(settings, recovery_folder)
        flow = build(source, sinks, settings, stores)
        if recovery_store and recovery_folder:
            _rebuild_redis(connect, settings, recovery_folder, recovery_store)
        try:
            # The matrices are small: more BLAS threads would only take the core that Redis uses.
            with gc_disabled(), threadpool_limits(1):
                run_main(
                    flow,
                    epoch_interval=timedelta(milliseconds=settings.source.epoch_ms),
                    recovery_config=recovery_store.config if recovery_store else None,
                )
        except BytewaxRuntimeError as error:
            if user_error := user_error_in(error):
                raise user_error from None
            raise
        if recovery_store and recovery_folder:
            _rebuild_redis(connect, settings, recovery_folder, recovery_store)


def _rebuild_redis(
    connect: Callable[[], Store], settings: Settings, folder: Path, recovery_store: RecoveryStore
) -> None:
    """Rebuild Redis if it lost data: before the flow resumes, and during its run."""
    with closing(connect()) as store:
        rebuild_if_stale(store, settings, folder, recovery_store.journals, lambda: None)
