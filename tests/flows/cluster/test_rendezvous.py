"""A run across hosts: processes started one by one, with `-i` and `-a`, on one shared folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.kafka_broker import free_port
from tests.live_runs import PATIENCE_S, Live, Process, undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

LEASE_S = 2


def addresses(processes: int) -> list[str]:
    """Places on this host, as words of the command line."""
    return [word for _ in range(processes) for word in ("-a", f"127.0.0.1:{free_port()}")]


class Hosts:
    """Processes of one run, each of which is started again when it ends, as systemd does."""

    def __init__(self, live: Live, processes: int = 2, **settings: object) -> None:
        self.live = live
        self.settings: dict[str, Any] = {"run__lease_s": LEASE_S} | settings
        self.addresses = addresses(processes)
        self.running = [self.start(number) for number in range(processes)]
        self.ended: list[tuple[int, int, str]] = []

    def start(self, number: int, *more: str) -> Process:
        return self.live.start("-i", str(number), *self.addresses, *more, **self.settings)

    def until(self, is_so: object) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not is_so():  # type: ignore[operator]
            assert time.monotonic() < until_s, [one.kill() for one in self.running]
            for number, one in enumerate(self.running):
                if one.popen.poll() is not None:
                    self.ended.append((number, *one.ended()))
                    self.running[number] = self.start(number)
            time.sleep(0.05)

    def stop(self) -> list[tuple[int, str]]:
        for one in self.running:
            one.popen.send_signal(signal.SIGTERM)
        return [one.ended() for one in self.running]


@pytest.fixture
def live(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with Live(kafka_broker, "hosts", redis_url, tmp_path) as found:
        yield found


@pytest.mark.slow
def test_two_processes_give_the_same_result_as_one(live: Live) -> None:
    live.send(1000)
    hosts = Hosts(live)
    hosts.until(live.caught_up)
    assert hosts.ended == []
    ends = hosts.stop()
    assert [code for code, _ in ends] == [0, 0], ends
    assert live.committed() == live.sent
    assert live.to_the_end() == undisturbed(live)


@pytest.mark.slow
def test_a_waiting_process_logs_for_whom_and_stops_at_once(live: Live) -> None:
    words = addresses(3)
    waiting = [live.start("-i", str(number), *words) for number in (0, 1)]
    for one, whom in zip(waiting, ("process 2", "process 0 and all others"), strict=True):
        assert one.popen.stdout is not None
        line = one.popen.stdout.readline()
        while "waits for process" in line and not line.endswith(f" {whom}\n"):
            line = one.popen.stdout.readline()  # they do not come at the same moment
        assert line.endswith(f" waits for {whom}\n")
    for one in waiting:
        one.popen.send_signal(signal.SIGTERM)
        assert one.popen.wait(PATIENCE_S) == 0


def test_bytewax_waits_for_a_peer_and_a_signal_ends_that(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    words = [sys.executable, "-c", WAITS, *map(str, ports)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        time.sleep(1)
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


WAITS = """
import sys
import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from flows.process.liveness import TickSource
from flows.process.shutdown import exit_if_stopped_early, stop_on_signal

flow = Dataflow("waits")
op.inspect("seen", op.input("pulse", flow, TickSource()))
with stop_on_signal() as stop, exit_if_stopped_early(stop):
    print("waits", flush=True)
    cli_main(flow, process_id=0, addresses=[f"127.0.0.1:{port}" for port in sys.argv[1:]])
"""


@pytest.mark.slow
def test_processes_with_different_settings_are_refused(live: Live) -> None:
    here, there = addresses(2), addresses(1)
    cases: list[tuple[list[str], dict[str, Any], str]] = [
        ([*here, *there], {}, "-a"),
        (here, {"sessions__gap_ms": 1000}, "sessions.gap_ms"),
    ]
    for others, settings, differs in cases:
        first = live.start("-i", "0", *here, run__lease_s=LEASE_S)
        second = live.start("-i", "1", *others, run__lease_s=LEASE_S, **settings)
        for one, number, other in ((first, 0, 1), (second, 1, 0)):
            code, said = one.ended()
            assert code == 2
            assert said.startswith(f"penstock: process {number} and process {other} (")
            assert f") differ in {differs}: start all processes of {live.topic}" in said
            assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_an_address_of_another_host_is_a_clear_error(live: Live) -> None:
    elsewhere = "192.0.2.1:9500"
    for number, words in (
        (0, ["-a", elsewhere, *addresses(1)]),
        (1, [*addresses(1), "-a", elsewhere]),
    ):
        code, said = live.start("-i", str(number), *words, run__meet_s=1).ended()
        assert code == 2
        assert f"has waited 1 s for its address {elsewhere} ([Errno 99] Cannot assign" in said


@pytest.mark.slow
def test_a_recovery_folder_that_is_not_shared_is_refused(live: Live) -> None:
    words = addresses(2)
    first = live.start("-i", "0", *words, run__meet_s=3)
    code, said = live.start("-i", "1", *words, recovery="another", run__meet_s=3).ended()
    assert code == 2
    assert "has waited 3 s for the fence of process 0 in recovery folder" in said
    assert not (live.folder / "another").exists()
    code, said = first.ended()
    assert code == 2
    assert "has waited 3 s for process 1: start all with the same" in said


def of_ours(said: str) -> str:
    """Without the lines of Timely about a peer that it cannot reach yet."""
    return re.sub(r"^worker \d+:\terror connecting to worker .*\n", "", said, flags=re.MULTILINE)


@pytest.mark.slow
def test_two_processes_with_the_same_number_are_refused(live: Live) -> None:
    hosts = Hosts(live, run__meet_s=3)
    live.send(10)
    hosts.until(live.caught_up)
    code, said = hosts.start(1).ended()
    assert code == 2
    assert "which is process 1 too" in said
    assert [code for code, _ in hosts.stop()] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_restarts_together_with_the_other(live: Live, number: int) -> None:
    live.send(800)
    hosts = Hosts(live)
    hosts.until(lambda: live.has_counted(400))
    os.kill(hosts.running[number].popen.pid, signal.SIGKILL)
    live.send(400)
    hosts.until(live.caught_up)
    assert {number for number, _, _ in hosts.ended} == {0, 1}
    said = next(of_ours(said) for other, _, said in hosts.ended if other != number)
    assert (
        said == "penstock: another process disconnected: this one ends, to be restarted with it\n"
    )
    assert [code for code, _ in hosts.stop()] == [0, 0]
    assert live.to_the_end() == undisturbed(live)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_stopped_process_restarts_with_the_other_and_nothing_is_replayed(
    live: Live, number: int
) -> None:
    live.send(800)
    hosts = Hosts(live)
    hosts.until(live.caught_up)
    assert hosts.running[number].stop()[0] == 0
    code, said = hosts.running[1 - number].ended()
    assert code == 1
    assert of_ours(said) == (
        "penstock: another process was asked to stop, so the run ended cleanly: restart this process\n"
    )
    assert live.committed() == live.sent
    hosts.running = [hosts.start(0), hosts.start(1)]
    live.send(200)
    hosts.until(live.caught_up)
    assert [code for code, _ in hosts.stop()] == [0, 0]
    assert live.to_the_end() == undisturbed(live)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_both_processes_restart_together_after_one_hangs(live: Live, number: int) -> None:
    live.send(800)
    hosts = Hosts(live)
    hosts.until(live.caught_up)
    hanging, other = hosts.running[number].popen, hosts.running[1 - number]
    os.kill(hanging.pid, signal.SIGSTOP)
    code, said = other.ended()
    assert code == 1
    assert f"process {number} has not renewed its entry for {LEASE_S} s" in said
    hosts.running[1 - number] = hosts.start(1 - number)
    os.kill(hanging.pid, signal.SIGCONT)
    live.send(200)
    hosts.until(live.caught_up)
    assert [code for code, _ in hosts.stop()] == [0, 0]
    assert live.to_the_end() == undisturbed(live)


@pytest.mark.slow
def test_processes_killed_at_any_moment_lose_nothing(live: Live) -> None:
    random = Random(7)
    live.send(1500)
    hosts = Hosts(live, source__batch_events=50)
    for _ in range(8):
        until_s = time.monotonic() + random.uniform(0, 6)
        hosts.until(lambda until_s=until_s: time.monotonic() > until_s)
        for one in random.sample(hosts.running, random.choice([1, 1, 2])):
            os.kill(one.popen.pid, signal.SIGKILL)
        live.send(100)
    hosts.until(live.caught_up)
    assert [code for code, _ in hosts.stop()] == [0, 0]
    assert live.to_the_end() == undisturbed(live)
