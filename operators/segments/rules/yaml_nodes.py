"""A YAML file as plain texts, lists and mappings that know where they stand, for errors that say so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import yaml

from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Spot:
    """A place in the file: a text (`yes` and `30` are texts too), a list or a mapping.

    `path` is how it is named in errors, `source` and `line` where it is.
    """

    def __init__(self, node: yaml.Node, source: str, path: str) -> None:
        self.path = path
        self._node = node
        self._source = source
        self._line = node.start_mark.line + 1

    def refuse(self, what: str) -> NoReturn:
        """Raise the UserError that names this place."""
        at = f"{self.path}: " if self.path else ""
        raise UserError(f"{self._source}:{self._line}: {at}{what}")

    @property
    def is_text(self) -> bool:
        """Whether it is a single text."""
        return isinstance(self._node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def text(self, instead: str) -> str:
        """The text, without what is around it; refused if there is none, with what to write."""
        if not isinstance(self._node, yaml.ScalarNode) or not self._node.value.strip():
            self.refuse(f"expected a text: {instead}")
        text = " ".join(str(self._node.value).split())
        if _CONTROL.search(text):
            self.refuse("has a control character: take it out")
        return text

    def items(self, instead: str) -> list[Spot]:
        """What is in the list, one at least."""
        if not isinstance(self._node, yaml.SequenceNode) or not self._node.value:
            self.refuse(f"expected a list: {instead}")
        return [
            Spot(node, self._source, f"{self.path}[{n}]") for n, node in enumerate(self._node.value)
        ]

    def fields(self, instead: str) -> dict[str, Spot]:
        """What is in the mapping, by key; a key that is given twice is refused."""
        if not isinstance(self._node, yaml.MappingNode):
            self.refuse(f"expected a mapping: {instead}")
        found: dict[str, Spot] = {}
        for key, value in self._node.value:
            here = Spot(key, self._source, self.path)
            name = here.text("a key")
            path = f"{self.path}.{name}" if self.path else name
            spot = Spot(value, self._source, path)
            # A value may stand below its key; an error is about the line of the key.
            spot._line = here._line
            if name in found:
                spot.refuse("given twice: keep one")
            found[name] = spot
        return found

    def only(self, fields: dict[str, Spot], allowed: Iterable[str], of: str) -> None:
        """Refuse the first field that is not allowed."""
        names = tuple(allowed)
        for name, spot in fields.items():
            if name not in names:
                near = nearest(name, names)
                spot.refuse(f"{of} has no `{name}`{near}: it takes {', '.join(names)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """`, did you mean ...?` where one is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, [*names], 1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def parse(text: str, source: str) -> Spot | None:
    """The whole file; None where nothing is in it. Raises UserError for what is no YAML."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except RecursionError as error:
        raise UserError(f"{source}: lies in itself too deep: write it flatter") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    return None if node is None else Spot(node, source, "")
