"""`penstock replay --recovery`: a stopped replay continues, and a folder belongs to one replay."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from flows.process.exit_codes import EXIT_STOPPED, EXIT_USER_ERROR
from state.store import Store
from tests.flows.commands.runs import EVENTS, CommandResult, Terminal, interrupt_reading

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_stopped_replay_continues_from_its_snapshot(
    terminal: Terminal, log: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str | Path] = [
        log,
        "--format",
        "penstock",
        "--redis",
        redis_url,
        "--set",
        "source.batch_events=100",
    ]
    words += ["--set", "source.epoch_ms=1"]
    whole = terminal.report(*words)
    Store(redis_url, timeout_ms=2000, patience_s=0).client.flushall()
    with monkeypatch.context() as patched:
        interrupt_reading(patched, lambda: signal.raise_signal(signal.SIGINT), after=EVENTS // 2)
        stopped = terminal.run("replay", *words, "--recovery", "recovery")
    assert stopped == CommandResult(
        EXIT_STOPPED, [], ["penstock: stopped: the same command goes on where it was"]
    )
    resumed = terminal.report(*words, "--recovery", "recovery")
    timing = {"wall_s", "events_per_s", "peak_rss_mb"}
    assert {n: v for n, v in resumed.items() if n not in timing} == {
        n: v for n, v in whole.items() if n not in timing
    }


def test_a_redis_with_results_of_another_run_is_a_warning(
    terminal: Terminal, log: Path, redis_url: str
) -> None:
    words = ["replay", str(log), "--format", "penstock", "--redis", redis_url]
    assert terminal.run(*words, "--recovery", "recovery").err == []
    again = terminal.run(*words, "--recovery", "recovery")
    assert (again.out[0], again.err) == (f"goes on with the replay of {log}", [])
    anew = terminal.run(*words)
    assert (anew.code, anew.err) == (
        0,
        [
            f"penstock: Redis at {Store(redis_url, timeout_ms=1, patience_s=0).address} holds the "
            "results of an earlier run: those that this one does not overwrite stay"
        ],
    )


def test_a_recovery_folder_is_for_one_file_and_one_configuration(
    terminal: Terminal, log: Path, redis_url: str, tmp_path: Path
) -> None:
    words = ["--format", "penstock", "--redis", redis_url, "--recovery", "recovery"]
    assert terminal.run("replay", log, *words).code == 0
    other = tmp_path / "other.jsonl"
    other.write_bytes(log.read_bytes())
    assert terminal.run("replay", other, *words) == CommandResult(
        EXIT_USER_ERROR,
        [],
        [
            "penstock: recovery folder recovery belongs to a replay of shop.jsonl (--format penstock):"
            " name another for this one"
        ],
    )
    assert terminal.run("replay", log, *words, "--set", "sessions.gap_ms=1000") == CommandResult(
        EXIT_USER_ERROR,
        [],
        [
            "penstock: recovery folder recovery was made with another configuration (sessions.gap_ms):"
            " go back to that, or name a new folder and start again"
        ],
    )
