"""Compose file, Kubernetes manifests and Prometheus' configuration fit each other and the program."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.commands.cli import parser
from state import config_loader, keys

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
BIN = Path(sys.executable).parent
KUBERNETES = ("1.28", "1.34")
"""The oldest that the manifests need, and one of today."""


def ours() -> dict[str, dict[str, Any]]:
    """The services of the compose file that run Penstock."""
    return {name: one for name, one in COMPOSE["services"].items() if "build" in one}


def documents(*names: str) -> list[dict[str, Any]]:
    """What the manifests declare."""
    paths = [path for path in MANIFESTS if not names or path.name in names]
    return [one for path in paths for one in yaml.safe_load_all(path.read_text())]


def pods() -> dict[str, dict[str, Any]]:
    """Pod templates of Penstock by file and name, each with the container."""
    found = {}
    for path in MANIFESTS:
        for one in yaml.safe_load_all(path.read_text()):
            template = one.get("spec", {}).get("template")
            if template and template["metadata"]["labels"].get("part") == "penstock":
                found[f"{path.name} {one['metadata']['name']}"] = template
    return found


def default_of(value: str) -> str:
    """What compose makes of `${NAME:-default}` and `${NAME:?message}` where the variable is set."""
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda m: m[3] if m[2] == "-" else "x" * 24, value)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_of_the_schema_of_kubernetes(path: Path, version: str) -> None:
    command = [str(BIN / "kubernetes-validate"), "--strict", "-k", version, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = len(re.findall(r"passed for resource", ran.stdout + ran.stderr))
    assert passed == len(list(yaml.safe_load_all(path.read_text())))


def test_the_compose_file_is_of_the_schema_of_compose() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    ran = subprocess.run(
        [*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("name", ours())
def test_a_service_is_started_with_words_and_keys_there_are(name: str) -> None:
    service = ours()[name]
    words = service["command"]
    assert parser(words).parse_args(words)
    environment = {key: default_of(str(value)) for key, value in service["environment"].items()}
    assert config_loader.load(environment=environment, require_consent_defaults=True)


@pytest.mark.parametrize("name", pods())
def test_a_pod_is_started_with_words_and_keys_there_are(name: str) -> None:
    (container,) = pods()[name]["spec"]["containers"]
    assert parser(container["args"]).parse_args(container["args"])
    environment = {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}
    for given in documents("penstock.yaml", "hosts.yaml"):
        if given["kind"] == "ConfigMap":
            assert config_loader.load(
                environment=environment | given["data"], require_consent_defaults=True
            )
    assert container["image"] == f"penstock:{keys.WRITER_VERSION}"


def served(name: str) -> set[str]:
    """The ports of a service that answer `/metrics`: those of its processes, or where it listens."""
    service = ours()[name]
    addresses = {
        key: str(value).rpartition(":")[2]
        for key, value in service["environment"].items()
        if key.endswith(("__LISTEN", "__METRICS_LISTEN"))
    }
    # A storefront answers it without a key at an address of its own.
    own = [port for key, port in addresses.items() if key.endswith("__METRICS_LISTEN")]
    listens = own or [*addresses.values()]
    words = service["command"]
    processes = int(words[words.index("--processes") + 1]) if "--processes" in words else 1
    return {f"{name}:{int(port) + n}" for port in listens for n in range(processes)}


def test_every_port_that_serves_is_scraped() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
    targets = {
        target for job in scraped for some in job["static_configs"] for target in some["targets"]
    }
    assert targets == set().union(*map(served, ours()))


def test_every_port_that_serves_in_kubernetes_is_found_by_its_name() -> None:
    chosen = yaml.safe_load((DEPLOY / "prometheus/prometheus-kubernetes.yaml").read_text())
    (job,) = chosen["scrape_configs"]
    keep = {
        rule["source_labels"][0]: re.compile(rule["regex"])
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    label, port = keep.values()
    names: dict[str, list[str]] = {}
    for name, pod in pods().items():
        assert label.fullmatch(pod["metadata"]["labels"]["part"])
        (container,) = pod["spec"]["containers"]
        names[name] = [one["name"] for one in container["ports"] if port.fullmatch(one["name"])]
        processes = container["args"].count("--processes") + 1
        assert len(names[name]) == processes, name
    assert len(names) == 5


def test_ports_that_nobody_logs_in_to_are_published_to_this_machine_only() -> None:
    open_to_all = {
        name: port
        for name, service in COMPOSE["services"].items()
        for port in service.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert set(open_to_all) == {"kafka", "redis"}, "the shop sends events there, and reads lists"


def test_who_passes_on_requests_to_the_door_can_be_named() -> None:
    """Otherwise every visitor behind the proxy shares one limit."""
    pods = yaml.safe_load_all((DEPLOY / "kubernetes" / "storefront.yaml").read_text())
    (container,) = next(
        pod["spec"]["template"]["spec"]["containers"] for pod in pods if pod["kind"] == "Deployment"
    )
    assert "FORWARDED_ALLOW_IPS" in {one["name"] for one in container["env"]}
    assert "FORWARDED_ALLOW_IPS" in COMPOSE["services"]["storefront"]["environment"]


def test_files_that_are_mounted_and_generated_are_there() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), volume
    kustomization = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert all((DEPLOY / path).is_file() for path in kustomization["resources"])
    maps = {}
    for made in kustomization["configMapGenerator"]:
        files = [path.rpartition("=")[2] for path in made["files"]]
        assert all((DEPLOY / path).is_file() for path in files), made
        maps[made["name"]] = files
    mounted = {
        volume["configMap"]["name"]
        for one in documents("prometheus.yaml", "grafana.yaml")
        for volume in one.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", [])
        if "configMap" in volume
    }
    assert mounted == set(maps)


def test_grafana_finds_its_source_and_its_board() -> None:
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    board = json.loads((DEPLOY / "grafana/penstock.json").read_text())
    (variable,) = board["templating"]["list"]
    assert (source["type"], source["isDefault"]) == (variable["query"], True)
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in COMPOSE["services"]
    services = [one for one in documents("prometheus.yaml") if one["kind"] == "Service"]
    assert [one["metadata"]["name"] for one in services] == ["prometheus"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/penstock.yaml").read_text())[
        "providers"
    ]
    folder = provider["options"]["path"]
    home = f"{folder}/penstock.json"
    grafana = COMPOSE["services"]["grafana"]
    assert f"./grafana/penstock.json:{home}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == home


@pytest.mark.skipif(
    not (shutil.which("promtool") or os.environ.get("REQUIRE_PROMETHEUS")),
    reason="promtool is not here: apt-get install prometheus",
)
@pytest.mark.parametrize("name", ["prometheus.yaml", "prometheus-kubernetes.yaml"])
def test_prometheus_takes_its_configuration_and_the_alerts(name: str, tmp_path: Path) -> None:
    alerts = tmp_path / "alerts.yaml"
    alerts.write_text((DEPLOY / "prometheus/alerts.yaml").read_text())
    chosen = yaml.safe_load((DEPLOY / "prometheus" / name).read_text())
    chosen["rule_files"] = [str(alerts)]
    for job in chosen["scrape_configs"]:
        job.pop("kubernetes_sd_configs", None)  # Debian's promtool is built without it
    (tmp_path / name).write_text(yaml.safe_dump(chosen))
    ran = subprocess.run(
        shlex.split(f"promtool check config {tmp_path / name}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "rules found" in ran.stdout + ran.stderr
