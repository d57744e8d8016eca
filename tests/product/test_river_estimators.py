"""Estimators of River in the real flow: replayed into a real Redis, crashed and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.events.decode import decode_lines
from operators.synthetic.traffic import encode_lines, generate_events
from state.config import Clusters
from tests.flows.recovery.test_crash import CrashingSource
from tests.streams import content, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from state.config import Settings

SHOP = list(
    decode_lines(
        encode_lines(generate_events(events=2400, shoppers=250, items=50, events_per_s=0.15)),
        source="shop",
        partition="0",
        first_offset=0,
        now_ms=1_900_000_000_000,
    )
)
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
    return flow_settings(batch_events=40, epoch_ms=30, **sections)


def fields(rows: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in rows[key]}


def facts_of(rows: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row for key, row in rows.items() if ":session" in key or ":alias" in key}


def resumed(server: EmbeddedRedis, settings: Settings, folder: Path) -> dict[str, Any]:
    """What Redis holds after a run that crashed twice."""
    server.send_command("FLUSHALL")
    crashes = [31, 15]
    for _ in range(3):
        replay_source(
            CrashingSource(RecordedSource({"shop": lambda: iter(SHOP)}, settings), crashes),
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
    settings = chosen(clusters=Clusters(estimator=expression))
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
