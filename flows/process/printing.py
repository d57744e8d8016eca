"""What a command prints: lines and tables on which nothing that data holds can act as a command.

All that commands show goes through a `console` or `print_lines`; `penstock` never prints data otherwise.
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
    """A console whose texts, cells of tables too, hold no control characters but ends of lines."""

    def render_str(self, text: str, **style: Any) -> Text:
        """A text as it is shown."""
        return super().render_str(printable(text, keep="\n"), **style)


def create_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Where to print."""
    return _Console(highlight=False, stderr=stderr, soft_wrap=soft_wrap)


def print_lines(texts: Iterable[str], target: Console | None = None) -> None:
    """Each as one line, as long as it is, whatever stands in it."""
    target = target or create_console()
    for line in texts:
        target.print(printable(line), markup=False, soft_wrap=True)


def print_error(message: str) -> None:
    """A line on standard error."""
    print(f"penstock: {printable(message)}", file=sys.stderr, flush=True)
