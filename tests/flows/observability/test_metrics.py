"""The metrics of a running flow, compared with what really happened."""

from __future__ import annotations

import time
from array import array
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import orjson
import pytest
from bytewax.testing import TestingSink, run_main
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from flows.dataflow import Sinks, StateStores, build
from flows.observability import metrics, recording
from flows.observability.collectors import (
    ArrayHistogram,
    RecoveryFolderCollector,
    StateRowsCollector,
)
from flows.recovery.folder import open_recovery
from flows.sinks.dead_letters import DeadLetterSink
from flows.sinks.redis import RedisSink
from flows.sources.recorded import RecordedSource
from operators.events.decode import decode_lines
from operators.recommend.candidates.registry import LEARNERS
from operators.synthetic.traffic import generate_events
from serving.reader import Storefront
from state import keys
from state.messages import BatchOutput, CounterDeltas
from state.store import Store
from tests.streams import START_MS, flow_settings, view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from state.dead_letters import DeadLetter
    from state.events import Event


def test_the_times_of_receipt_arrive_with_the_writes_of_their_events(tmp_path: Path) -> None:
    bad = next(decode_lines([b"{"], source="shop", partition="0", first_offset=1, now_ms=START_MS))
    stream = [view(0, 0, "ann"), bad, view(2, 2, "bob"), view(3, 3, None, user_id="eve")]
    settings = flow_settings(batch_events=3)
    outputs: list[tuple[str, BatchOutput]] = []
    run_main(
        build(
            RecordedSource({"shop": lambda: iter(stream)}, settings),
            Sinks(TestingSink(outputs), DeadLetterSink(tmp_path / "dead")),
            settings,
            StateStores(),
        )
    )
    received = [array("q", output.received_ms).tolist() for _, output in outputs]
    first, second = [START_MS, 0, START_MS + 2], [START_MS + 3]
    assert received == [first, second, []]
    names = [name for name, _ in outputs[0][1].visible_together()]
    assert names == ["profile", "segments", "list"]


def counted(name: str) -> dict[str, float]:
    """All samples of a metric by its one label, or by nothing."""
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for metric in metrics.REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name
    }


def grown(name: str, before: dict[str, float]) -> dict[str, float]:
    """What was counted since, without what was not."""
    grown = {label: value - before.get(label, 0) for label, value in counted(name).items()}
    return {label: value for label, value in grown.items() if value}


TOLD = {"by_type", "rejected", "accepted", "duplicates", "late", "lists_written", "watermark_ms"}
COUNTERS = ("events", "rejected", "accepted", "duplicates", "late", "lists_written")


def run_measured(
    stream: Sequence[Event | DeadLetter], redis_url: str, folder: Path, *, stored: bool = False
) -> None:
    """The flow as a live run measures it."""
    settings = flow_settings()
    with open_recovery(folder / "recovery" if stored else None, settings) as kept:
        flow = build(
            RecordedSource({"shop": lambda: iter(stream)}, settings),
            Sinks(
                RedisSink(
                    lambda: Store(redis_url, timeout_ms=2000, patience_s=2), is_measured=True
                ),
                DeadLetterSink(folder / "dead_letters"),
            ),
            settings,
            StateStores(kept.journals if kept else None),
        )
        run_main(
            flow,
            epoch_interval=timedelta(milliseconds=settings.source.epoch_ms),
            recovery_config=kept.config if kept else None,
        )


def stream(events: int, items: int = 20) -> list[Event | DeadLetter]:
    """A shop's events, some twice, and some that are none."""
    lines = [
        msgspec.json.encode(one) for one in generate_events(events=events, shoppers=40, items=items)
    ]
    lines += [*lines[-7:], b"{", b"\xff", b"{}"]
    return [*decode_lines(lines, source="shop", partition="0", first_offset=0, now_ms=2**62)]


def test_metrics_and_the_counters_in_redis_are_equal(redis_url: str, tmp_path: Path) -> None:
    before = {name: counted(f"penstock_{name}_total") for name in COUNTERS}
    run_measured(stream(1500), redis_url, tmp_path)
    figures = Storefront(Store(redis_url, timeout_ms=2000, patience_s=2)).counters()
    told = {name: orjson.loads(value) for name, value in figures.items() if name in TOLD}
    now = {name: grown(f"penstock_{name}_total", before[name]) for name in COUNTERS}
    assert now["events"] == told["by_type"]
    assert now["rejected"] == told["rejected"] == {"not_json": 2, "no_identity": 1}
    for name in COUNTERS[2:]:
        assert sum(now[name].values()) == told[name], name
    assert now["duplicates"] == {"": 7}
    assert counted("penstock_watermark_seconds") == {"": told["watermark_ms"] / 1000}


def test_a_drift_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    before = counted("penstock_cluster_drifts_total")[""]
    sums = CounterDeltas(dict.fromkeys(("events",), 0), {}, {})
    recording.record_output(BatchOutput([], counter_deltas=sums, drift_count=2))
    recording.record_output(BatchOutput([], counter_deltas=sums))
    assert counted("penstock_cluster_drifts_total")[""] == before + 2
    (line,) = caplog.messages
    assert line.startswith("the shoppers no longer resemble those of the clusters")


def test_explored_items_are_counted_by_learner() -> None:
    names = ("penstock_tried_seen_total", "penstock_tried_clicked_total")
    before = [counted(name) for name in names]
    sums = CounterDeltas(dict.fromkeys(("events",), 0), {}, {})
    recording.record_output(BatchOutput([], counter_deltas=sums, explored={"content": (3, 1)}))
    grew = [grown(name, then) for name, then in zip(names, before, strict=True)]
    assert grew == [{"content": 3}, {"content": 1}]


def test_evaluated_lists_are_counted_by_learner_and_segment(redis_url: str, tmp_path: Path) -> None:
    names = ("lists_judged", "lists_hit", "segment_lists_judged", "segment_lists_hit")
    before = {name: counted(f"penstock_{name}_total") for name in names}
    run_measured(stream(3000, items=80), redis_url, tmp_path)
    now = {name: grown(f"penstock_{name}_total", before[name]) for name in names}
    judged, hit = (sum(now[name].values()) for name in names[:2])
    assert 0 < hit < judged
    assert set(now["lists_hit"]) <= {*LEARNERS, "other"}
    for segment, lists in now["segment_lists_judged"].items():
        assert now["segment_lists_hit"].get(segment, 0) <= lists <= judged
    stages = [lists for name, lists in now["segment_lists_judged"].items() if "lifecycle" in name]
    assert sum(stages) == judged, "each shopper is in one stage"
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    told = store.client.hgetall(keys.model_key("blend"))
    store.close()
    # Redis has them faded, by a minute or two of a day.
    assert float(told[b"judged"]) == pytest.approx(judged, rel=0.05)


def test_every_event_is_in_the_histogram_of_every_branch(redis_url: str, tmp_path: Path) -> None:
    before = counted("penstock_freshness_seconds_count")
    run_measured(stream(1500), redis_url, tmp_path)
    seen = grown("penstock_freshness_seconds_count", before)
    assert seen == dict.fromkeys(("profile", "segments", "list"), 1507)
    assert counted("penstock_writes_queued") == {"": 0}


def test_counters_of_a_resumed_run_start_at_zero(redis_url: str, tmp_path: Path) -> None:
    """Else a restart would look like a flood."""
    events = stream(600)
    run_measured(events[:400], redis_url, tmp_path, stored=True)
    before = counted("penstock_accepted_total")
    run_measured(events[:400], redis_url, tmp_path, stored=True)
    assert grown("penstock_accepted_total", before) == {}


def test_freshness_is_counted_in_the_right_bucket() -> None:
    histogram = ArrayHistogram("some_seconds", "Some", "branch", (0.1, 1.0), CollectorRegistry())
    histogram.observe("list", np.array([0.05, 0.1, 0.2, 1.0, 1.1]))
    histogram.observe("list", np.array([2.5]))
    (family,) = histogram.collect()
    by_bound = {s.labels.get("le", s.name): s.value for s in family.samples}
    assert by_bound == {
        "0.1": 2,
        "1.0": 4,
        "+Inf": 6,
        "some_seconds_count": 6,
        "some_seconds_sum": pytest.approx(4.95),
    }


@given(
    st.lists(st.floats(0.001, 9.9), min_size=1, max_size=50),
    st.sampled_from([0.0, 0.5, 0.99, 1.0]),
)
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    bounds = (0.1, 0.5, 1.0, 10.0)
    histogram = ArrayHistogram("some_seconds", "Some", "branch", bounds, CollectorRegistry())
    assert histogram.quantile(histogram.counts("list"), share) is None
    histogram.observe("list", np.array(values))
    found = histogram.quantile(histogram.counts("list"), share)
    exact = np.quantile(values, share, method="inverted_cdf")
    bucket = int(np.searchsorted(bounds, exact))
    assert found is not None
    assert (0.0, *bounds)[bucket] <= found <= bounds[bucket]


def test_a_key_is_as_fresh_as_its_event_is_old() -> None:
    now_ms = time.time_ns() // 1_000_000
    before = counted("penstock_freshness_seconds_sum")
    # Received a second ago, not received at all, received by a clock that is ahead of ours.
    recording.record_freshness("age", array("q", [now_ms - 1000, 0, now_ms + 5000]).tobytes())
    assert grown("penstock_freshness_seconds_sum", before)["age"] == pytest.approx(1.0, abs=0.5)
    assert counted("penstock_freshness_seconds_count")["age"] == 2


def test_the_recovery_folder_is_measured(redis_url: str, tmp_path: Path) -> None:
    began_s = time.time()
    run_measured(stream(300), redis_url, tmp_path, stored=True)
    folder = tmp_path / "recovery"
    held, committed = RecoveryFolderCollector(folder).collect()
    sizes = {sample.labels["part"]: sample.value for sample in held.samples}
    assert {"rows", "store"} <= set(sizes)
    for name, size in sizes.items():
        assert size == sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file())
    assert committed.samples[0].value >= began_s - 1
    assert set(counted("penstock_snapshot_seconds_total")) == {
        "identify",
        "sessionize",
        "train_clusters",
        "train_propensity",
        "train_items",
        "personalize",
    }


class Shards:
    row_count = 5


def test_rows_are_counted_until_their_operator_is_deleted() -> None:
    rows = StateRowsCollector(CollectorRegistry())
    held = [Shards(), Shards()]
    for one in held:
        rows.watch("visit", one)
    assert [sample.value for metric in rows.collect() for sample in metric.samples] == [10]
    held.clear()
    del one
    assert [sample.value for metric in rows.collect() for sample in metric.samples] == [0]
