"""Packages that only some commands need: whether they are there, and the command that brings them."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec

from state.errors import UserError

PACKAGES = {
    "dashboard": ("starlette", "sse_starlette", "uvicorn"),
    "plots": ("matplotlib",),
    "tune": ("optuna",),
}
"""By extra of pyproject.toml: the modules that it brings."""


def has(extra: str) -> bool:
    """Whether the packages of an extra are there."""
    return all(find_spec(name) for name in PACKAGES[extra])


def require(extra: str, what: str) -> None:
    """Raise UserError where what `what` needs is not there: better before the work than after."""
    if not has(extra):
        missing = next(name for name in PACKAGES[extra] if not find_spec(name))
        python = shlex.quote(sys.executable)
        raise UserError(
            f"{what} needs {missing}, which is not installed: "
            f"{python} -m pip install 'penstock[{extra}]'"
        )
