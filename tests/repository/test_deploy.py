"""What is delivered beside the code names only what the code has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from flows.cluster.supervisor import BACKOFF_S
from flows.observability import metrics
from flows.observability.collectors import RecoveryFolderCollector, TopicCollector
from flows.process.liveness import START_TIMEOUT_S
from flows.webhooks import metrics as hooks_metrics
from serving.dashboard import metrics as page_metrics
from serving.http import metrics as storefront_metrics
from state import config_loader

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/penstock.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
OPERATIONS = ROOT / "docs/operations.md"


class Topic:
    log_name: ClassVar[str] = "kafka"

    def __init__(self) -> None:
        self.lag = {"0-events": 0}
        self.is_reachable = True


@pytest.fixture
def there(tmp_path: Path) -> dict[str, set[str]]:
    """Every metric, and the names under which Prometheus knows its samples."""
    families = [*metrics.REGISTRY.collect(), *hooks_metrics.REGISTRY.collect()]
    families += [*page_metrics.REGISTRY.collect(), *storefront_metrics.REGISTRY.collect()]
    families += [*TopicCollector(Topic()).collect(), *RecoveryFolderCollector(tmp_path).collect()]
    endings = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_sum", "_count"),
        "info": ("_info",),
    }
    return {
        one.name: {one.name + ending for ending in endings.get(one.type, ("",))} for one in families
    }


def named(text: str) -> set[str]:
    return set(re.findall(r"\b(?:penstock|process)_[a-z_]+[a-z]\b", text))


def expressions(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        own = [tree["expr"]] if "expr" in tree else []
        return own + [one for value in tree.values() for one in expressions(value)]
    return [one for value in tree for one in expressions(value)] if isinstance(tree, list) else []


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_graphs_and_alerts_ask_for_metrics_there_are(
    there: dict[str, set[str]], path: Path
) -> None:
    asked = expressions(yaml.safe_load(path.read_text()))
    assert len(asked) > 8
    samples = set().union(*there.values())
    assert {name for text in asked for name in named(text)} - samples == set()


def test_every_metric_is_in_the_docs_and_no_other(there: dict[str, set[str]]) -> None:
    section = OPERATIONS.read_text().partition("## Metrics")[2].partition("\n## ")[0]
    told = named(section)
    ours = {name: samples for name, samples in there.items() if name.startswith("penstock_")}
    assert [name for name, samples in ours.items() if not told & {name, *samples}] == []
    assert {name for name in told if name.startswith("penstock_")} <= {*ours}.union(*ours.values())


def test_every_alert_says_what_to_do() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    table = OPERATIONS.read_text().partition("## Alerts")[2]
    assert re.findall(r"^\| (Penstock\w+) \|", table, re.MULTILINE) == [r["alert"] for r in rules]


def test_the_dashboard_asks_for_its_source() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [one["type"] for one in dashboard["templating"]["list"]] == ["datasource"]
    graphs = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in graphs} == {"${datasource}"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def _stateful_set(name: str) -> Any:
    manifests = yaml.safe_load_all((ROOT / "deploy/kubernetes" / name).read_text())
    return next(one for one in manifests if one["kind"] == "StatefulSet")["spec"]


@pytest.mark.parametrize("name", ["penstock.yaml", "hosts.yaml"])
def test_a_probe_of_one_process_is_more_patient_than_what_starts_it_again(name: str) -> None:
    pod = _stateful_set(name)["template"]["spec"]
    stuck_s = config_loader.load(environment={}).run.stuck_s
    for name in ("startupProbe", "livenessProbe"):
        probe = pod["containers"][0][name]
        patience_s = probe["periodSeconds"] * probe["failureThreshold"]
        assert patience_s > 2 * START_TIMEOUT_S + stuck_s + max(BACKOFF_S)


def test_pods_of_one_run_are_as_many_as_their_addresses_and_share_a_volume() -> None:
    wanted = _stateful_set("hosts.yaml")
    pod = wanted["template"]["spec"]
    environment = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    addresses = environment["BYTEWAX_ADDRESSES"].split(";")
    name = wanted["serviceName"]
    assert addresses == [f"{name}-{i}.{name}:9500" for i in range(wanted["replicas"])]
    assert "BYTEWAX_PROCESS_ID" in environment
    assert {"name": "recovery", "persistentVolumeClaim": {"claimName": "penstock-recovery"}} in pod[
        "volumes"
    ]
    assert "volumeClaimTemplates" not in wanted
