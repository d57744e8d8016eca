"""`python -m bytewax.run flows.personalize:flow`: the flow under Bytewax's own command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.live_runs import PATIENCE_S, Live

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

COMMAND = [sys.executable, "-m", "bytewax.run", "flows.personalize:flow"]


def test_events_arrive_in_redis(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> None:
    with Live(kafka_broker, "under-bytewax", redis_url, tmp_path) as live:
        live.send(500)
        settings = {
            "PENSTOCK_KAFKA__BOOTSTRAP_SERVERS": kafka_broker.address,
            "PENSTOCK_KAFKA__TOPIC": live.topic,
            "PENSTOCK_REDIS__URL": redis_url,
        }
        run = subprocess.Popen([*COMMAND, "-s", "1"], env={**os.environ, **settings}, text=True)
        live.processes.append(run)
        until_s = time.monotonic() + PATIENCE_S
        while not live.caught_up():
            assert run.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE_S) == 0
        assert live.meta()["events"] == 500


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["-r", ".", "-s", "1", "-b", "0"], "--recovery DIR"),
        (["-w", "2"], "--processes N"),
        ([], "name one with --redis URL or redis.url"),
    ],
)
def test_unsupported_flags_are_refused_in_one_line(words: list[str], instead: str) -> None:
    ended = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert instead in ended.stderr
