"""The image: its steps are carried out in empty folders, and what comes out is started as it says."""

from __future__ import annotations

import signal
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from state import keys
from state.store import Store
from tests.image import Image, build
from tests.kafka_broker import free_port
from tests.kafka_runs import event, send
from tests.live_runs import PATIENCE_S
from tests.pages import Answer

if TYPE_CHECKING:
    from tests.kafka_broker import AnyBroker

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
EVENTS = 500


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(ROOT / "deploy/Dockerfile", ROOT, tmp_path_factory.mktemp("image"))


def service(name: str) -> tuple[list[str], dict[str, str]]:
    """How the compose file starts a service: words and environment."""
    found = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"][name]
    return found["command"], {key: str(value) for key, value in found["environment"].items()}


@pytest.mark.slow
def test_the_image_holds_the_program_and_both_default_files(image: Image) -> None:
    said = image.start("--version")
    assert said.communicate()[0] == f"penstock {VERSION}\n"
    checked, errors = image.start("check").communicate()
    assert errors == ""
    assert checked.startswith("configuration  good ")
    (packages,) = (image.root / "opt/penstock/lib").glob("python3*/site-packages")
    assert (packages / "state/config.yaml").is_file()
    assert (packages / "state/segments.yaml").is_file()
    assert not list(packages.glob("pytest*"))


@pytest.mark.slow
def test_what_comes_out_runs_as_the_compose_file_says(
    image: Image, kafka_broker: AnyBroker, redis_url: str
) -> None:
    topic = kafka_broker.create_topic("image", partitions=4)
    words, environment = service("penstock")
    port, page_port = free_port(), free_port()
    given = environment | {
        "PENSTOCK_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.address,
        "PENSTOCK_KAFKA__TOPIC": topic,
        "PENSTOCK_REDIS__URL": redis_url,
        "PENSTOCK_METRICS__LISTEN": f"127.0.0.1:{port}",
    }
    recovery = str(image.root / "var/lib/penstock/recovery")
    words = [recovery if word == "/var/lib/penstock/recovery" else word for word in words]
    run = image.start(*words, **given)
    page_words, page_environment = service("page")
    page = image.start(
        *page_words,
        **page_environment
        | {
            "PENSTOCK_REDIS__URL": redis_url,
            "PENSTOCK_SERVING__LISTEN": f"127.0.0.1:{page_port}",
            "PENSTOCK_DASHBOARD_TOKEN": "correct-horse-battery-staple",
        },
    )
    try:
        send(kafka_broker, topic, [event(number) for number in range(EVENTS)])
        store = Store(redis_url, timeout_ms=2000, patience_s=2)
        until_s = time.monotonic() + PATIENCE_S
        while not store.client.exists(keys.profile_key("visitor-7")):
            assert run.poll() is None, run.communicate()[1]
            assert time.monotonic() < until_s
            time.sleep(0.05)
        assert Answer(f"http://127.0.0.1:{port}", "/healthz").status == 200
        assert "penstock_events_total" in Answer(f"http://127.0.0.1:{port}", "/metrics").text
        token = "Bearer correct-horse-battery-staple"
        url = f"http://127.0.0.1:{page_port}"
        assert Answer(url, "/api/hello", authorization=token).status == 200
        assert "penstock_page_tabs" in Answer(url, "/metrics").text
    finally:
        ends = []
        for process in (run, page):
            process.send_signal(signal.SIGTERM)
            ends.append((process.wait(60), process.communicate()[1][-2000:]))
    assert [code for code, _ in ends] == [0, 0], ends
