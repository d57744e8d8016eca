"""The command line itself: help, version, place of common options, and what it imports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from flows.commands.cli import main
from flows.process.exit_codes import EXIT_BROKEN_PIPE
from state import keys
from tests.flows.commands.runs import ROOT, Terminal

if TYPE_CHECKING:
    from pathlib import Path


def test_help_names_every_command(terminal: Terminal, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    offered = re.findall(r"^    ([a-z-]+)(?:  |$)", capfd.readouterr().out, re.MULTILINE)
    assert offered == [
        "demo",
        "run",
        "replay",
        "evaluate",
        "tune",
        "experiments",
        "show",
        "segments",
        "dashboard",
        "serve",
        "hooks",
        "redrive",
        "erase",
        "export-subject",
        "check",
        "warm",
    ]


def test_the_module_is_the_command(log: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "flows", "replay", log, "--format", "penstock"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("events    3,0")


def test_show_does_not_import_the_models() -> None:
    code = "import sys; from flows.commands.cli import parser; parser(sys.argv[1:]); print(*sys.modules)"
    loaded = {
        command: subprocess.check_output([sys.executable, "-c", code, command], text=True).split()
        for command in ("show", "replay")
    }
    assert "river" in loaded["replay"]
    assert not {"river", "scipy", "bytewax"} & set(loaded["show"])


def test_common_options_may_come_before_or_after_the_command(terminal: Terminal, log: Path) -> None:
    before = terminal.run("--set", "lists.many=3", "replay", log, "--format", "penstock")
    after = terminal.run("replay", log, "--format", "penstock", "--set", "lists.many=3")
    assert before == after
    both = terminal.run(
        "--set", "lists.k=0", "replay", log, "--format", "penstock", "--set", "lists.k=5"
    )
    assert both.code == 0


def test_a_closed_output_pipe_is_no_error(log: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "replay", log, "--format", "penstock"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", EXIT_BROKEN_PIPE)


def test_version_is_printed(terminal: Terminal, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        terminal.run("--version")
    assert capfd.readouterr().out == f"penstock {keys.WRITER_VERSION}\n"
