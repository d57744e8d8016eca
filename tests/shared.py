"""Where the real data of the tests is, and what happens where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(
    os.environ.get("PENSTOCK_SHARED_DATA", Path(__file__).parents[2] / "shared/data")
)


def shared_data(name: str) -> Path:
    """The path of a shared data file; without it the test is skipped, or fails where CI demands it."""
    return _there(SHARED_DATA / name)


def shared_case(name: str) -> Path:
    """The input of a shared case, what a shop really sent; as `shared_data` where it is absent."""
    folder = _there(SHARED_DATA.parent / "cases" / name)
    (path,) = folder.glob("input.*")
    return path


def _there(path: Path) -> Path:
    if path.exists():
        return path
    reason = f"real data not found: {path}"
    if os.environ.get("REQUIRE_SHARED_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
