"""Replay: recorded events through the very dataflow that runs live, to the end, and a report of it."""

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
from flows.process.gc_control import without_cycle_collector
from flows.recovery.cold_store import RedisArchive
from flows.recovery.folder import recovery
from flows.recovery.redis_rebuild import make_whole
from flows.sinks.redis import DeadLetterSink, RedisSink
from flows.sources.recorded import RecordedSource
from operators.publish.digest import facts
from state import keys
from state.errors import UserError
from state.store import Digest, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bytewax.inputs import Source

    from flows.recovery.folder import Stored
    from flows.sources.recorded import Records
    from state.config import Settings
    from state.messages import SourceBatch


class Digests(Enum):
    """Whether a report says what all of Redis comes to."""

    MADE = True
    LEFT_OUT = False


class Report(msgspec.Struct, kw_only=True):
    """What a replay did. `events` = `accepted` + all `rejected` + `duplicates` + `suppressed` + all
    `withheld`.

    `left_out`: fields that could not be read, by source and name, of events that count all the same;
    `shortened`: events with more items than count; `clamped`: events with a clock ahead of the
    collector's; `held`: events too far ahead of those after them to move the watermark.

    `state_sha256` is over all that Redis holds of the contract, `facts_sha256` over sessions,
    profiles and counters, which neither batch size nor workers change; "" where nobody asked for them.
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


def run(
    recordings: dict[str, Records],
    settings: Settings,
    *,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None = None,
) -> None:
    """Run recordings through the flow to their end, in this process, with one worker.

    Raises UserError for what a person can mend: an unreachable Redis, a damaged input (after what
    could be read of it went through), a recovery folder in use.
    """
    source = RecordedSource(recordings, settings)
    run_source(
        source,
        settings,
        redis_url=redis_url,
        dead_letters=dead_letters,
        recovery_folder=recovery_folder,
    )
    if source.failure is not None:
        raise source.failure


def run_source(
    source: Source[SourceBatch],
    settings: Settings,
    *,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None = None,
) -> None:
    """Run any source through the flow until it ends, as `run` does."""

    def connect() -> Store:
        return Store(
            redis_url,
            timeout_ms=settings.redis.timeout_ms,
            patience_s=settings.redis.patience_s,
            replicas=settings.redis.replicas,
        )

    connect().check()
    with recovery(recovery_folder, settings) as stored:
        flow = build(
            source,
            RedisSink(connect, notice_days=settings.privacy.notice_days),
            DeadLetterSink(dead_letters),
            settings,
            journals=stored.journals if stored else None,
            archive=RedisArchive(connect),
        )
        if stored and recovery_folder:
            _make_whole(connect, settings, recovery_folder, stored)
        try:
            # The matrices are small: more threads of BLAS would only take the core Redis works on.
            with without_cycle_collector(), threadpool_limits(1):
                run_main(
                    flow,
                    epoch_interval=timedelta(milliseconds=settings.source.epoch_ms),
                    recovery_config=stored.config if stored else None,
                )
        except BytewaxRuntimeError as error:
            if said := said_by_us(error):
                raise said from None
            raise
        if stored and recovery_folder:
            _make_whole(connect, settings, recovery_folder, stored)


def _make_whole(
    connect: Callable[[], Store], settings: Settings, folder: Path, stored: Stored
) -> None:
    """Tell Redis all that is stored where it has lost it: before going on, and while that went on."""
    with closing(connect()) as store:
        make_whole(store, settings, folder, stored.journals, lambda: None)


def said_by_us(error: BaseException) -> BaseException | None:
    """What a person should hear of, behind what Bytewax raised."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, UserError | KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind


def report(
    settings: Settings,
    redis_url: str,
    began_s: float,
    resumed_events: int = 0,
    wanted: Digests = Digests.LEFT_OUT,
) -> Report:
    """The report of a replay that began at a `time.perf_counter`, from what Redis holds.

    `resumed_events` were read in former runs: they count in everything but the rate. Digests read all
    that Redis holds: they are made where they are `wanted`.
    """
    wall_s = time.perf_counter() - began_s
    store = Store(redis_url, timeout_ms=60_000, patience_s=0)
    meta = {name.decode(): value for name, value in store.client.hgetall(keys.meta_key()).items()}
    counts = {
        name: orjson.loads(meta[name])
        for name in Report.__struct_fields__
        if name in meta and name != "watermark_ms"
    }
    state_sha256, facts_sha256 = digests(store) if wanted is Digests.MADE else ("", "")
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


def digests(store: Store) -> tuple[str, str]:
    """The digests of all rows and of the facts in them, in one pass."""
    whole, of_facts = Digest(), Digest()
    for row in store.rows(in_parts=True):
        # A live run's sign of life is no result.
        if row[0].startswith(keys.WORKERS):
            continue
        for fact in facts([row]):
            of_facts.add(fact)
        whole.add(row)
    return whole.hexdigest(), of_facts.hexdigest()
