"""The set-up: what is locked, what is built, and which Python serves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME, DEV = ROOT / "requirements.lock", ROOT / "requirements-dev.lock"


def locked(path: Path) -> dict[str, str]:
    """Package name -> version."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text(), re.MULTILINE))


def wanted(*extras: str) -> list[Requirement]:
    texts = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["build"]
    for extra in extras:
        texts = texts + PROJECT["project"]["optional-dependencies"][extra]
    return [Requirement(text) for text in texts if not text.startswith("penstock[")]


@pytest.mark.parametrize(
    ("lock", "extras"),
    [(RUNTIME, ("dashboard",)), (DEV, ("dashboard", "plots", "dev"))],
    ids=["runtime", "dev"],
)
def test_the_lock_holds_what_the_project_asks_for(lock: Path, extras: tuple[str, ...]) -> None:
    versions = locked(lock)
    out_of_step = [
        f"{asked} is locked at {versions.get(canonicalize_name(asked.name))}: run make lock"
        for asked in wanted(*extras)
        if versions.get(canonicalize_name(asked.name), "") not in asked.specifier
    ]
    assert out_of_step == []


def test_development_runs_on_the_versions_of_the_runtime() -> None:
    dev = locked(DEV)
    assert locked(RUNTIME) == {name: dev.get(name) for name in locked(RUNTIME)}


def test_the_locked_builder_is_the_one_the_build_asks_for() -> None:
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


@pytest.mark.parametrize("lock", [RUNTIME, DEV], ids=["runtime", "dev"])
def test_every_locked_package_has_a_hash_and_none_an_address(lock: Path) -> None:
    text = lock.read_text()
    pins = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert [pin.split(" ")[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links", text) == []


def test_an_installation_holds_the_packages_the_command_and_the_configuration(
    tmp_path: Path,
) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "flows",
        "operators",
        "serving",
        "state",
    }
    assert "state/config.yaml" in names
    assert any(name.endswith("entry_points.txt") for name in names)


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "Makefile", folder)
    program = shutil.which("make")
    assert program, "make is needed: apt-get install make"
    return subprocess.run(
        [program, "--no-print-directory", *arguments],
        cwd=folder,
        env={"PATH": os.defpath} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_every_make_target_that_the_texts_name_is_there(tmp_path: Path) -> None:
    offered = set(re.findall(r"^  make (\w+)", make(tmp_path, "help").stdout, re.MULTILINE))
    texts = [ROOT / "README.md", ROOT / ".ci" / "run", *(ROOT / "docs").glob("*.md")]
    named = {
        target
        for text in texts
        for target in re.findall(r"(?:^|`)make ([a-z]+)", text.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named - offered == set()


def test_a_python_that_is_found_but_does_not_run_is_passed_over(tmp_path: Path) -> None:
    shim = program(tmp_path / "shim", "echo not installed >&2; exit 127")
    makes_venv = "mkdir -p .venv/bin; : >.venv/bin/python"
    serving = program(
        tmp_path / "serving",
        f'case "$1" in --version) echo Python 3.12.1;; -m) {makes_venv};; esac',
    )
    ran = make(tmp_path, ".venv/bin/python", f"PYTHON={shim} {serving}")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "setup: .venv with Python 3.12.1\n", "")


def test_without_a_python_that_serves_one_line_says_what_to_do(tmp_path: Path) -> None:
    ran = make(tmp_path, ".venv/bin/python", "PYTHON=no-such-python")
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[0] == (
        "setup: no Python 3.11 or 3.12 with venv found: install one "
        "(Debian, Ubuntu: apt-get install python3-venv) "
        "or name it: make PYTHON=/path/to/python3.12"
    )
