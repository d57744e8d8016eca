"""The report of a replay: its counts and figures, and digests of the content of Redis.

Field names of the report are public.
"""

from __future__ import annotations

import resource
import time
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
import orjson

from operators.publish.digest import deterministic_rows
from state import keys
from state.store import Digest, Store

if TYPE_CHECKING:
    from state.config import Settings


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
