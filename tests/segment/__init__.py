"""Segment's own libraries from the npm registry, pinned by `package-lock.json`; tests send with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
INSTALLED = FOLDER.parents[1] / ".cache" / "segment"


def libraries() -> Path:
    """The folder with `node_modules`, filled when it is not there yet; else the test is skipped."""
    lock = (FOLDER / "package-lock.json").read_bytes()
    installed_lock = INSTALLED / "package-lock.json"
    if installed_lock.exists() and installed_lock.read_bytes() == lock:
        return INSTALLED
    if missing := next((one for one in ("node", "npm") if shutil.which(one) is None), None):
        reason = f"no {missing} in PATH (Debian, Ubuntu: apt-get install nodejs npm)"
        if os.environ.get("REQUIRE_NPM"):
            pytest.fail(f"REQUIRE_NPM is set, and there is {reason}")
        pytest.skip(reason)
    INSTALLED.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(dir=INSTALLED.parent))
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, begun)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=begun, check=True, capture_output=True)
    shutil.rmtree(INSTALLED, ignore_errors=True)
    begun.rename(INSTALLED)
    return INSTALLED
