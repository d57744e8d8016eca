"""Output of commands, without control characters, so that data cannot control a terminal.

All output of commands with data in it goes through `create_console` or `print_lines`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text


class _Console(Console):
    """A console that removes control characters except line ends from all texts, also in tables."""

    def render_str(self, text: str, **style: Any) -> Text:
        """A text without control characters."""
        return super().render_str(printable(text, keep="\n"), **style)


def create_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console on standard output or standard error."""
    return _Console(highlight=False, stderr=stderr, soft_wrap=soft_wrap)


def print_lines(texts: Iterable[str], target: Console | None = None) -> None:
    """Print each text as one line, without wrapping, markup or control characters."""
    target = target or create_console()
    for line in texts:
        target.print(printable(line), markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """Print a line on standard error."""
    print(f"penstock: {printable(message)}", file=sys.stderr, flush=True)
