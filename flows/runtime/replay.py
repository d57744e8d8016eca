"""A replay: recorded events through the same dataflow as a live run, to their end, and its report."""

from __future__ import annotations

import resource
import time
from contextlib import closing
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
import orjson
from bytewax.errors import BytewaxRuntimeError
from bytewax.testing import run_main
from threadpoolctl import threadpool_limits

from flows.personalize import build
from flows.process.gc_control import gc_disabled
from flows.recovery.cold_store import RedisColdStore
from flows.recovery.folder import open_recovery
from flows.recovery.redis_rebuild import rebuild_if_stale
from flows.sinks.redis import DeadLetterSink, RedisSink
from flows.sources.recorded import RecordedSource
from operators.publish.digest import deterministic_rows
from state import keys
from state.errors import UserError
from state.store import Digest, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bytewax.inputs import Source

    from flows.recovery.folder import RecoveryStore
    from flows.sources.recorded import Records
    from state.config import Settings
    from state.messages import SourceBatch


class DigestMode(Enum):
    """Whether a report includes digests of the content of Redis."""

    COMPUTED = True
    SKIPPED = False


class Report(msgspec.Struct, kw_only=True):
    """The result of a replay. Field names are public (`--json`).

    `events` = `accepted` + all `rejected` + `duplicates` + `suppressed` + all `withheld`.
    `left_out`: fields of accepted events that could not be read, by source and name;
    `shortened`: events with more items than the limit; `clamped`: events with a clock ahead of the
    collector's; `held`: events too far ahead of the following ones to move the watermark.

    `state_sha256` covers all content of Redis in the contract, `facts_sha256` sessions, profiles
    and counters, which depend neither on batch size nor on the number of workers; "" if they were
    not requested.
    """

    events: int
    accepted: int
    rejected: dict[str, int]
    duplicates: int
    suppressed: int
    erased: int
    withheld: dict[str, int]
    late: int
    by_type: dict[str, int]
    left_out: dict[str, int]
    shortened: int
    clamped: int
    held: int
    currency: str
    unconverted: dict[str, int]
    shoppers: int
    items: int
    sessions_opened: int
    sessions_closed: int
    merges: int
    evicted: int
    returned: int
    saturated: int
    repeats: int
    identity_conflicts: int
    lists_written: int
    segment_changes: int
    wall_s: float
    events_per_s: float
    peak_rss_mb: float
    watermark_ms: int
    config_sha256: str
    state_sha256: str
    facts_sha256: str


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
        flow = build(
            source,
            RedisSink(connect, notice_days=settings.privacy.notice_days),
            DeadLetterSink(dead_letters),
            settings,
            journals=recovery_store.journals if recovery_store else None,
            cold_store=RedisColdStore(connect),
        )
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


def user_error_in(error: BaseException) -> BaseException | None:
    """The UserError or interrupt that caused an exception of Bytewax; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError | KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause


def build_report(
    settings: Settings,
    redis_url: str,
    started_s: float,
    resumed_events: int = 0,
    digest_mode: DigestMode = DigestMode.SKIPPED,
) -> Report:
    """Build the report of a replay that started at a `time.perf_counter`, from the content of Redis.

    `resumed_events` were read in earlier runs: they count in everything except the rate. Digests
    read all content of Redis, so they are optional.
    """
    wall_s = time.perf_counter() - started_s
    store = Store(redis_url, timeout_ms=60_000, patience_s=0)
    meta = {name.decode(): value for name, value in store.client.hgetall(keys.meta_key()).items()}
    counts = {
        name: orjson.loads(meta[name])
        for name in Report.__struct_fields__
        if name in meta and name != "watermark_ms"
    }
    state_sha256, facts_sha256 = (
        compute_digests(store) if digest_mode is DigestMode.COMPUTED else ("", "")
    )
    return Report(
        **counts,
        currency=(store.client.hget(keys.shop_now_key(), "currency") or b"").decode(),
        wall_s=round(wall_s, 3),
        events_per_s=round((counts["events"] - resumed_events) / wall_s, 1),
        peak_rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        watermark_ms=int(meta["watermark_ms"]),
        config_sha256=settings.sha256,
        state_sha256=state_sha256,
        facts_sha256=facts_sha256,
    )


def compute_digests(store: Store) -> tuple[str, str]:
    """The digests of all rows and of the facts in them, in one pass."""
    state_digest, facts_digest = Digest(), Digest()
    for row in store.rows(in_parts=True):
        # The heartbeat of a live run is no result.
        if row[0].startswith(keys.WORKER_KEY_PREFIX):
            continue
        for fact in deterministic_rows([row]):
            facts_digest.add(fact)
        state_digest.add(row)
    return state_digest.hexdigest(), facts_digest.hexdigest()
