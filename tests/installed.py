"""Programs that tests and benchmarks start do without what only tests need (`as_installed/`)."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("as_installed")


def environment() -> dict[str, str]:
    """What such a program is started with."""
    folders = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
