"""The command line's own parser: ids may begin with a dash, as those of Firebase do."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, NoReturn

from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID_LIKE = re.compile(r"-[^-\s].+", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Takes a word that begins with one dash and is no option for what it is: a value.

    A word with two dashes may be an option with a mistake in it: there the error says to write `--`.
    """

    _arguments: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; the words are kept for the error."""
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
        """One line that says what is wrong, and of a word that may be an id how to say so."""
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
