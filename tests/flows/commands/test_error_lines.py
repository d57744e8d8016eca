"""Every error is one line on standard error, with an exit code that names its kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import flows.runtime.replay_report
from flows.process.exit_codes import EXIT_FAILED, EXIT_STOPPED, EXIT_USER_ERROR
from tests.flows.commands.runs import CommandResult, Terminal, interrupt_reading, raise_unforeseen

if TYPE_CHECKING:
    from flows.runtime.replay_report import Report


def test_a_wrong_format_is_one_error_line_and_nothing_else(terminal: Terminal, log: Path) -> None:
    ran = terminal.run("replay", log, "--format", "rees46", "--report", "report.json")
    assert (ran.code, ran.out, len(ran.err)) == (EXIT_USER_ERROR, [], 1)
    assert ran.err[0].startswith("penstock: not in format rees46: expected the header")
    assert not Path("report.json").exists()


ROOT = Path(__file__).parents[3]
REPLAY = ("replay", "LOG", "--format", "penstock")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("replay", "nope", "--format", "penstock"), "no such file: nope"),
        (("replay", "empty", "--format", "penstock"), "empty is empty: nothing to read"),
        (("replay", "plain.gz", "--format", "penstock"), "plain.gz is not gzip: rename it"),
        (("replay", ".", "--format", "penstock"), ". is a directory: name a file in it"),
        (
            (*REPLAY, "--redis", "redis://localhost:1"),
            "does not answer: start it, or set redis.url",
        ),
        ((*REPLAY, "--redis", "http://x"), "expected redis://, rediss://, unix://"),
        ((*REPLAY, "--set", "lists.many=3"), "Object contains unknown field `many` - at `$.lists`"),
        ((*REPLAY, "--config", "nope.yaml"), "nope.yaml: No such file or directory: name a conf"),
        ((*REPLAY, "--report", "nope/report.json"), "make the directory nope first"),
        ((*REPLAY, "--dead-letters", "nope/x"), "cannot write rejected records to nope/x: No such"),
        ((*REPLAY, "--recovery", "r"), "the embedded Redis is empty after a restart: with --recov"),
        (
            ("replay", "-", "--format", "penstock", "--recovery", "r"),
            "standard input cannot be read again: --recovery needs a FILE",
        ),
        (("show", "ann"), "an embedded Redis is gone when its run ends: name one with --redis URL"),
        (("demo", "--events", "0"), "--events 0: name at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_that_the_user_can_fix_is_one_line(
    terminal: Terminal, log: Path, words: tuple[str, ...], message: str
) -> None:
    Path("empty").touch()
    Path("plain.gz").write_text("plain")
    ran = terminal.run(*(log if word == "LOG" else word for word in words))
    assert (ran.code, ran.out, len(ran.err)) == (EXIT_USER_ERROR, [], 1)
    assert ran.err[0].startswith("penstock: ")
    assert message in ran.err[0]


UNFORESEEN = """
import sys
import pytest
from flows.commands.cli import main
from tests.flows.commands.runs import interrupt_reading, raise_unforeseen
interrupt_reading(pytest.MonkeyPatch(), raise_unforeseen)
sys.exit(main(sys.argv[1:]))
"""


def test_an_unforeseen_error_is_one_line_with_the_file_of_its_traceback(log: Path) -> None:
    # In a process of its own: a cluster of Bytewax in this one leaves a hook that prints tracebacks.
    words = [sys.executable, "-c", UNFORESEEN, "replay", str(log), "--format", "penstock"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    lines = ran.stderr.splitlines()
    assert (ran.returncode, ran.stdout, len(lines)) == (EXIT_FAILED, "", 1)
    message, _, details = lines[0].partition("; details are in ")
    assert message.startswith("penstock: unforeseen ")
    assert "a fault that no code foresees" in Path(details).read_text()
    Path(details).unlink()


def test_debug_prints_the_traceback(
    terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_reading(monkeypatch, raise_unforeseen)
    ran = terminal.run("--debug", "replay", log, "--format", "penstock")
    assert ran.code == EXIT_FAILED
    assert "ZeroDivisionError: a fault that no code foresees" in ran.err
    assert "details are in" not in ran.err[-1]


def test_ctrl_c_is_one_line(terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_reading(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    ran = terminal.run("replay", log, "--format", "penstock")
    assert ran == CommandResult(EXIT_STOPPED, [], ["penstock: stopped"])


def test_a_lost_event_is_an_error(
    terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing_one(*arguments: Any) -> Report:
        found = true_report(*arguments)
        found.accepted -= 1
        return found

    true_report = flows.runtime.replay_report.build_report
    monkeypatch.setattr("flows.commands.replay.build_report", losing_one)
    ran = terminal.run("replay", log, "--format", "penstock")
    assert (ran.code, ran.err) == (
        EXIT_FAILED,
        [
            "penstock: 1 events are neither accepted nor rejected nor duplicates nor suppressed nor "
            "withheld: a bug of Penstock's"
        ],
    )


def test_invalid_cluster_options_are_refused(
    terminal: Terminal, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(*words: str) -> str:
        refused = terminal.run("run", "--redis", redis_url, *words)
        assert refused.code == EXIT_USER_ERROR
        assert len(refused.err) == 1
        return refused.err[0]

    two = ("-a", "localhost:1", "-a", "localhost:2")
    assert "name one with --recovery" in refusal("-i", "1", *two)
    recovery = ("--recovery", "recovery")
    assert "-i 2: -a names 2 processes, counted from 0" in refusal(*recovery, *two, "-i", "2")
    assert "-a host: name a host and a port" in refusal(*recovery, "-a", "host")
    assert "different addresses" in refusal(*recovery, *two, "-a", "localhost:1")
    assert "leave one of them out" in refusal(*recovery, *two, "--processes", "2")
    monkeypatch.setenv("BYTEWAX_PROCESS_ID", "2")
    monkeypatch.setenv("BYTEWAX_ADDRESSES", "localhost:1;localhost:2")
    assert "-i 2: -a names 2 processes" in refusal(*recovery)
    assert not Path("recovery").exists()
