"""The argument parser of the command line, and the options that every command has.

An id may begin with a dash, as those of Firebase do. Nothing here imports the rest of the
product, so that the command line starts fast.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ID_LIKE = re.compile(r"-[^-\s].+", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Accepts an argument that begins with one dash and is no option as a value.

    An argument with two dashes may be a misspelt option: the error then says to write `--` before
    an id.
    """

    _arguments: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and store the arguments for the error message."""
        self._arguments = args or ()
        return super().parse_known_args(args, namespace)

    def _parse_optional(self, arg_string: str) -> Any:
        if _ID_LIKE.fullmatch(arg_string) and not self._is_option(arg_string):
            return None
        return super()._parse_optional(arg_string)

    def _is_option(self, word: str) -> bool:
        if word in self._option_string_actions:
            return True
        action = self._option_string_actions.get(word[:2])
        return action is not None and action.nargs != 0  # -i0 is -i 0, but -help is no -h

    def error(self, message: str) -> NoReturn:
        """Exit with one line: what is wrong, and how to pass an id that looks like an option."""
        unknown = [
            word
            for word in self._arguments
            if word.startswith("-") and len(word) > 1 and word.split("=")[0] not in self._options()
        ]
        if unknown:
            message += (
                f"; if {unknown[0]} is an id, write -- before it: {self.prog} ... -- {unknown[0]}"
            )
        super().error(printable(message))

    def _options(self) -> set[str]:
        return {"--", *self._option_string_actions}


def complete(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], *, redis: bool
) -> None:
    """Add the common options to the parser of a command, and the function that runs it."""
    add_common_options(parser, redis=redis)
    parser.set_defaults(run=run)


def add_common_options(
    parser: argparse.ArgumentParser, *, redis: bool = True, prefix: str = ""
) -> None:
    """Add `--config`, `--set` and, for commands that use Redis, `--redis`.

    `prefix` keeps the values apart from those of the subcommand.
    """
    add = parser.add_argument
    add(
        "--config",
        dest=f"{prefix}config",
        metavar="FILE",
        type=Path,
        help="configuration file (default: config.yaml)",
    )
    add(
        "--set",
        dest=f"{prefix}set",
        metavar="A.B=C",
        action="append",
        default=[],
        help="set one configuration key; may be repeated",
    )
    if redis:
        add(
            "--redis",
            dest=f"{prefix}redis",
            metavar="URL",
            help="URL of Redis (default: redis.url of the configuration)",
        )
