"""Key figures in the whole flow: into Redis as they are recounted, whatever happens on the way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from bytewax.testing import cluster_main

from flows.dataflow import Sinks, StateStores, build
from flows.runtime.replay import replay_source
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from operators.kpis.publishing import fields_of
from state import keys
from state.config import Kpis
from state.kpis import FIGURES
from state.store import Store
from tests.flows.recovery.test_crash import CrashingSource
from tests.kpi_recount import recount
from tests.operators.kpis.test_recount import shop_log
from tests.streams import content, flow_settings, run_flow

if TYPE_CHECKING:
    from pathlib import Path

    import redis

KPIS = Kpis(enabled=True, correct_days=60)
SETTINGS = flow_settings(kpis=KPIS, batch_events=11)
LOG = shop_log(2)
HOUR_MS = 3_600_000


def figures_in(rows: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rows.items() if key.startswith("ps:1:kpi:")}


def recounted_hours() -> dict[tuple[str, int], dict[str, str | int]]:
    """What Redis should hold of each scope and hour."""
    sums: dict[tuple[str, int], list[int]] = {}
    for (scope, hour, figure), amount in recount(LOG, KPIS).items():
        sums.setdefault((scope, hour), [0] * len(FIGURES))[FIGURES.index(figure)] = amount
    return {key: fields_of(amounts) for key, amounts in sums.items()}


def hours_in(rows: dict[str, Any]) -> dict[tuple[str, int], dict[str, str | int]]:
    scopes = {scope for scope, _ in recounted_hours()}
    held = {
        (scope, int(at_ms) // HOUR_MS): orjson.loads(text)
        for scope in scopes
        for at_ms, text in rows[keys.kpi_history_hours_key(scope)]
    }
    return {key: fields for key, fields in held.items() if fields != fields_of([0] * len(FIGURES))}


def test_every_hour_in_redis_equals_the_recount(redis_url: str, tmp_path: Path) -> None:
    assert hours_in(run_flow(LOG, redis_url, tmp_path, settings=SETTINGS)) == recounted_hours()


def test_without_the_setting_there_is_no_step_and_no_key(redis_url: str, tmp_path: Path) -> None:
    assert figures_in(run_flow(LOG, redis_url, tmp_path)) == {}


def test_two_workers_give_the_same_figures(redis_url: str, tmp_path: Path) -> None:
    whole = run_flow(LOG, redis_url, tmp_path, settings=SETTINGS)
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()
    sinks = Sinks(
        RedisSink(lambda: Store(redis_url, timeout_ms=2000, patience_s=2)),
        DeadLetterSink(tmp_path / "dead_letters.jsonl"),
    )
    source = RecordedSource({"shop": lambda: iter(LOG)}, SETTINGS)
    flow = build(source, sinks, SETTINGS, StateStores())
    cluster_main(flow, [], 0, epoch_interval=timedelta(milliseconds=1), worker_count_per_proc=2)
    assert figures_in(content(redis_url)) == figures_in(whole)


@pytest.mark.parametrize("is_lost", [False, True], ids=["crashed", "crashed, Redis lost"])
def test_a_crash_and_a_lost_redis_change_no_figure(
    is_lost: bool, redis_url: str, tmp_path: Path
) -> None:
    whole = run_flow(LOG, redis_url, tmp_path, settings=SETTINGS)
    client: redis.Redis = Store(redis_url, timeout_ms=2000, patience_s=2).client
    client.flushall()
    for crashes in ([7], [4], []):
        replay_source(
            CrashingSource(RecordedSource({"shop": lambda: iter(LOG)}, SETTINGS), crashes),
            SETTINGS,
            redis_url=redis_url,
            dead_letters=tmp_path / "dead_letters.jsonl",
            recovery_folder=tmp_path / "recovery",
        )
        if is_lost and crashes:
            client.flushall()
    assert figures_in(content(redis_url)) == figures_in(whole)
