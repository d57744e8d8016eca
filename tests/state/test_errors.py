"""Errors: every error that a person can fix has the type of its cause, and the type says what to do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from state import errors
from state.errors import UserError

ROOT = Path(__file__).parents[2]
PRODUCT = [
    path
    for folder in ("flows", "operators", "serving", "state")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
CAUSES = sorted(
    (cause for cause in vars(errors).values() if isinstance(cause, type)),
    key=lambda one: one.__name__,
)


def calls_of(name: str, path: Path) -> list[str]:
    """Places in a file that create an error of exactly this type."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def test_no_error_is_raised_without_a_cause() -> None:
    assert [call for path in PRODUCT for call in calls_of("UserError", path)] == []


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_every_cause_says_what_to_do_and_is_used(cause: type[UserError]) -> None:
    assert issubclass(cause, UserError)
    if cause is UserError:
        return
    assert "What to do: " in (cause.__doc__ or "")
    assert any(calls_of(cause.__name__, path) for path in PRODUCT)
