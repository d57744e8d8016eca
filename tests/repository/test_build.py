"""The set-up: what is locked, what is built, and which Python serves."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
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
    [(RUNTIME, ("dashboard", "serve")), (DEV, ("dashboard", "plots", "serve", "dev"))],
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


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == keys.WRITER_VERSION


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


@contextmanager
def download_list(folder: Path) -> Iterator[str]:
    """A list of Pythons to fetch, as uv reads it, on loopback: it offers a copy of this one."""
    version, minor = platform.python_version(), f"python3.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    archive = folder / "python.tar.gz"

    def without_tests(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        left_out = ("/site-packages/", "/test/", "/idlelib/", "/__pycache__")
        return None if any(part in f"{entry.name}/" for part in left_out) else entry

    with tarfile.open(archive, "w:gz", compresslevel=1) as made:
        made.add(prefix / "bin" / minor, "python/bin/python3")
        made.add(prefix / "bin" / minor, f"python/bin/{minor}")
        for shared in (prefix / "lib").glob("libpython*.so*"):
            made.add(shared, f"python/lib/{shared.name}")
        made.add(prefix / "lib" / minor, f"python/lib/{minor}", filter=without_tests)
    handler = partial(QuietFiles, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        major, minor_number, patch = (int(part) for part in version.split("."))
        offered = {
            "name": "cpython",
            "arch": {"family": platform.machine(), "variant": None},
            "os": "linux",
            "libc": "gnu",
            "major": major,
            "minor": minor_number,
            "patch": patch,
            "prerelease": "",
            "url": f"{url}/{archive.name}",
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "variant": None,
        }
        name = f"cpython-{version}-linux-{platform.machine()}-gnu"
        (folder / "list.json").write_text(json.dumps({name: offered}))
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"{url}/list.json"
        server.shutdown()


def tools_but_no_python(folder: Path) -> Path:
    """What a shell finds here, but for Python and uv."""
    folder.mkdir()
    for tool in (path for place in os.defpath.split(":") for path in Path(place).iterdir()):
        if not tool.name.startswith(("python", "uv")) and not (folder / tool.name).exists():
            (folder / tool.name).symlink_to(tool)
    return folder


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the list offers a Python for Linux")
def test_where_no_python_serves_one_is_fetched_into_the_folder(tmp_path: Path) -> None:
    """As on a system whose only Python is newer than Bytewax has wheels for."""
    home, offered = tmp_path / "home", tmp_path / "offered"
    home.mkdir()
    offered.mkdir()
    newer = tools_but_no_python(tmp_path / "newer")
    makes_venvs = f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    program(newer / "python3", makes_venvs)
    version = platform.python_version()
    with download_list(offered) as url:
        ran = make(
            home,
            ".venv/bin/python",
            f"PYTHON_VERSION={version}",
            PATH=str(newer),
            HOME=str(home),
            UV_PYTHON_DOWNLOADS_JSON_URL=url,
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        f"setup: no Python 3.11 or 3.12 with venv found: fetching Python {version} into .python",
        f"setup: .venv with Python {version}, fetched",
    ]
    where = [str(home / ".venv/bin/python"), "-c", "import sys, ssl; print(sys.base_prefix)"]
    prefix = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(prefix).is_relative_to(home / ".python")
    assert sorted(path.name for path in home.iterdir()) == [".python", ".venv", "Makefile"]


@pytest.mark.slow
def test_a_python_that_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    ran = make(tmp_path, ".venv/bin/python", PATH=str(tools_but_no_python(tmp_path / "tools")))
    assert ran.returncode != 0
    assert ran.stdout.endswith("into .python\n")
    assert ran.stderr.startswith("setup: no Python 3.11 or 3.12 with venv found: install one")


def test_without_a_python_that_serves_one_line_says_what_to_do(tmp_path: Path) -> None:
    ran = make(tmp_path, ".venv/bin/python", "PYTHON=no-such-python")
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[0] == (
        "setup: no Python 3.11 or 3.12 with venv found: install one "
        "(Debian, Ubuntu: apt-get install python3-venv) "
        "or name it: make PYTHON=/path/to/python3.12"
    )
