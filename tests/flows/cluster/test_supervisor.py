"""A cluster under its supervisor: whichever process fails, nothing is lost and nothing counted twice."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.kafka_broker import free_port
from tests.live_runs import PATIENCE_S, Live, Process, undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka_broker import AnyBroker


@pytest.fixture
def live(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with Live(kafka_broker, "cluster", redis_url, tmp_path) as found:
        yield found


def has_other_workers(run: Process, than: list[int]) -> bool:
    now = run.workers()
    return len(now) == len(than) and not set(now) & set(than)


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_then_one_is_suspended(live: Live) -> None:
    live.send(1500)
    port = free_port()
    run = live.start("--processes", "2", run__stuck_s=3, metrics__listen=f"127.0.0.1:{port}")
    run.until(live.caught_up)
    for number, how in ((0, signal.SIGKILL), (1, signal.SIGSTOP)):
        workers = run.workers()
        live.send(500)
        os.kill(workers[number], how)
        run.until(lambda workers=workers: has_other_workers(run, workers))  # type: ignore[misc]
        run.until(live.caught_up)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert b"penstock_restarts_total 2.0" in answer.read()
    code, said = run.stop()
    assert code == 0
    assert "ended by signal 9: all 2 processes restart" in said
    assert "has made no progress for" in said
    assert "Traceback" not in said
    assert live.committed() == live.sent
    assert live.to_the_end() == undisturbed(live)


@pytest.mark.slow
def test_a_state_is_resumed_by_two_then_three_then_one_process(live: Live) -> None:
    for processes in (2, 3, 1):
        live.send(700)
        run = live.start("--processes", str(processes))
        run.until(live.caught_up)
        assert run.stop()[0] == 0
        assert live.committed() == live.sent
    assert live.to_the_end() == undisturbed(live)


def test_an_error_that_a_restart_cannot_fix_ends_the_cluster(live: Live) -> None:
    code, said = live.start("--processes", "2", kafka__topic="no-such-topic").ended()
    assert code == 2
    assert "has no topic no-such-topic" in said


@pytest.mark.slow
def test_processes_do_not_outlive_their_supervisor(live: Live) -> None:
    live.send(100)
    run = live.start("--processes", "2")
    run.until(live.caught_up)
    workers = run.workers()
    run.kill()
    until_s = time.monotonic() + PATIENCE_S
    while any(os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < until_s
        time.sleep(0.05)
