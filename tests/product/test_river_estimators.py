"""Estimators of River in the real flow: replayed into a real Redis, crashed and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.events.decode import decode_lines
from operators.synthetic.traffic import encode_lines, generate_events
from state.config import Clusters, Propensity
from tests.flows.recovery.test_crash import CrashingSource
from tests.streams import content, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.events import Event


def shop(events_per_s: float) -> list[Event | DeadLetter]:
    generated = generate_events(events=2400, shoppers=250, items=50, events_per_s=events_per_s)
    return list(
        decode_lines(
            encode_lines(generated),
            source="shop",
            partition="0",
            first_offset=0,
            now_ms=1_900_000_000_000,
        )
    )


SHOP = shop(0.15)
WEEKS = shop(0.002)
"""A shop of two weeks, in which outcomes become known."""
CLUSTERERS = [
    "river.cluster.KMeans(n_clusters=4, halflife=0.05)",
    *(
        pytest.param(one, marks=pytest.mark.slow)
        for one in (
            "river.cluster.DBSTREAM(clustering_threshold=2.5)",
            "river.preprocessing.StandardScaler() | "
            "river.cluster.STREAMKMeans(n_clusters=3, chunk_size=40)",
        )
    ),
]
METRICS = ("river.metrics.ROCAUC()", "river.metrics.FBeta(beta=2)", "river.metrics.MCC()")
CLASSIFIERS = [
    ("river.tree.HoeffdingAdaptiveTreeClassifier(grace_period=20)", 1),
    ("river.preprocessing.StandardScaler() | river.linear_model.LogisticRegression()", 16),
    ("river.forest.ARFClassifier(n_models=3)", 1),
    ("river.naive_bayes.GaussianNB()", 1),
]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


@pytest.fixture(scope="module")
def ours(server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Redis holds where no estimator is named."""
    server.send_command("FLUSHALL")
    return run_flow(SHOP, server.url, tmp_path_factory.mktemp("ours"), settings=chosen())


def chosen(**sections: Any) -> Settings:
    """The settings of a test, with sections of its own."""
    settings = flow_settings(batch_events=40, epoch_ms=30)
    return msgspec.structs.replace(settings, **sections)


def fields(rows: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in rows[key]}


def facts_of(rows: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row for key, row in rows.items() if ":session" in key or ":alias" in key}


def resumed(
    server: EmbeddedRedis,
    settings: Settings,
    folder: Path,
    events: Sequence[Event | DeadLetter] = SHOP,
) -> dict[str, Any]:
    """What Redis holds after a run that crashed twice."""
    server.send_command("FLUSHALL")
    crashes = [31, 15]
    for _ in range(3):
        replay_source(
            CrashingSource(RecordedSource({"shop": lambda: iter(events)}, settings), crashes),
            settings,
            redis_url=server.url,
            dead_letters=folder / "dead_letters.jsonl",
            recovery_folder=folder / "recovery",
        )
    assert crashes == []
    return content(server.url)


@pytest.mark.parametrize("expression", CLUSTERERS)
def test_a_clusterer_of_river_finds_the_segments_and_a_resumed_run_is_an_uninterrupted_one(
    server: EmbeddedRedis, ours: dict[str, Any], tmp_path: Path, expression: str
) -> None:
    detector = "river.drift.PageHinkley(min_instances=2, delta=0.0, threshold=0.01)"
    settings = chosen(clusters=Clusters(estimator=expression, drift_detector=detector))
    server.send_command("FLUSHALL")
    rows = run_flow(SHOP, server.url, tmp_path, settings=settings)
    model = fields(rows, "ps:1:model:{clusters}")
    assert model["algorithm"] == expression
    assert int(model["k"]) >= 2
    assert float(model["inertia"]) > 0
    segments = [key for key in rows if key.startswith("ps:1:segment:{cluster-")]
    names = [fields(rows, key)["name"] for key in segments if key.endswith(":definition")]
    assert len({*names}) == len(names) >= int(model["k"])
    members = [rows[key] for key in segments if key.endswith(":members")]
    assert sum(map(len, members)) > 50
    assert len(members) >= 2
    assert facts_of(rows) == facts_of(ours) != {}
    assert resumed(server, settings, tmp_path) == rows


@pytest.mark.slow
@pytest.mark.parametrize(("expression", "block"), CLASSIFIERS)
def test_a_classifier_of_river_gives_the_chances_and_a_resumed_run_is_an_uninterrupted_one(
    server: EmbeddedRedis, tmp_path: Path, expression: str, block: int
) -> None:
    propensity = Propensity(
        sampled_share=1.0,
        horizon_days=2,
        churn_days=2,
        labels_min=10,
        estimator=expression,
        estimator_block=block,
        metrics=METRICS,
    )
    settings = chosen(propensity=propensity)
    server.send_command("FLUSHALL")
    rows = run_flow(WEEKS, server.url, tmp_path, settings=settings)
    for name in ("p_buy_session", "p_buy_30d", "p_churn"):
        model = fields(rows, f"ps:1:model:{{{name}}}")
        assert (model["algorithm"], model["status"]) == (expression, "live")
        assert int(model["judged"]) > 50
        assert 0.3 < float(model["auc"]) <= 1.0
        assert float(model["calibration_error"]) < 0.3
        assert "failures" not in model
        assert {"ROCAUC", "FBeta(beta=2)", "MCC"} <= model.keys()
        assert float(model["ROCAUC"]) == pytest.approx(float(model["auc"]), abs=0.15)
    members = {
        key: rows[key]
        for key in rows
        if key.startswith("ps:1:segment:{propensity-") and key.endswith(":members")
    }
    assert len(members) >= 3
    profiles = [fields(rows, key) for key in rows if key.endswith(":profile")]
    assert sum("p_buy_30d" in profile for profile in profiles) > 50
    assert resumed(server, settings, tmp_path, WEEKS) == rows
