"""Packages that only some commands need: whether they are there, and the command that brings them."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

from state.errors import InstallationError

PACKAGES = {
    "dashboard": ("starlette", "sse_starlette", "uvicorn"),
    "plots": ("matplotlib",),
    "tune": ("optuna",),
}
"""By extra of pyproject.toml: the modules that it brings."""


def is_installed(extra: str) -> bool:
    """Whether the packages of an extra are there."""
    return all(find_spec(name) for name in PACKAGES[extra])


def require(extra: str, feature: str) -> None:
    """Raise UserError where what `feature` needs is not there: better before the work than after."""
    if not is_installed(extra):
        missing = next(name for name in PACKAGES[extra] if not find_spec(name))
        python = shlex.quote(sys.executable)
        raise InstallationError(
            f"{feature} needs {missing}, which is not installed: "
            f"{python} -m pip install 'penstock[{extra}]'"
        )
