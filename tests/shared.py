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
    path = SHARED_DATA / name
    if path.exists():
        return path
    reason = f"real data not found: {path}"
    if os.environ.get("REQUIRE_SHARED_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
