"""Optional packages that only some commands need, and how to install them."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

from state.errors import InstallationError

PACKAGES = {
    "dashboard": ("starlette", "sse_starlette", "uvicorn"),
    "serve": ("confluent_kafka", "starlette", "uvicorn"),
    "plots": ("matplotlib",),
    "tune": ("optuna",),
}
"""Extra of pyproject.toml -> the modules that it installs."""


def is_installed(extra: str) -> bool:
    """Whether the packages of an extra are installed."""
    return all(find_spec(name) for name in PACKAGES[extra])


def require(extra: str, feature: str) -> None:
    """Raise InstallationError if a package of `extra`, which `feature` needs, is missing.

    Call it first.
    """
    if not is_installed(extra):
        missing = next(name for name in PACKAGES[extra] if not find_spec(name))
        python = shlex.quote(sys.executable)
        raise InstallationError(
            f"{feature} needs {missing}, which is not installed: "
            f"{python} -m pip install 'penstock[{extra}]'"
        )
