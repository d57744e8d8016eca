"""A YAML file as texts, lists and mappings that know their line and path, so that errors can name
them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

import yaml

from state.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class YamlNode:
    """An entry of the file: a text (`yes` and `30` are texts too), a list or a mapping.

    Errors name `source`, the line, and `path`.
    """

    def __init__(self, node: yaml.Node, source: str, path: str) -> None:
        self.path = path
        self._node = node
        self._source = source
        self._line = node.start_mark.line + 1

    def raise_error(self, message: str) -> NoReturn:
        """Raise a ConfigurationError that names this entry."""
        location = f"{self.path}: " if self.path else ""
        raise ConfigurationError(f"{self._source}:{self._line}: {location}{message}")

    @property
    def is_text(self) -> bool:
        """Whether it is a single text."""
        return isinstance(self._node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def text(self, expected: str) -> str:
        """The text without white space around it. Raises ConfigurationError with what is expected where
        there is none."""
        if not isinstance(self._node, yaml.ScalarNode) or not self._node.value.strip():
            self.raise_error(f"expected a text: {expected}")
        text = " ".join(str(self._node.value).split())
        if _CONTROL.search(text):
            self.raise_error("has a control character: remove it")
        return text

    def items(self, expected: str) -> list[YamlNode]:
        """The entries of the list, at least one."""
        if not isinstance(self._node, yaml.SequenceNode) or not self._node.value:
            self.raise_error(f"expected a list: {expected}")
        return [
            YamlNode(node, self._source, f"{self.path}[{n}]")
            for n, node in enumerate(self._node.value)
        ]

    def fields(self, expected: str) -> dict[str, YamlNode]:
        """The entries of the mapping by key. A key that is given twice is an error."""
        if not isinstance(self._node, yaml.MappingNode):
            self.raise_error(f"expected a mapping: {expected}")
        by_key: dict[str, YamlNode] = {}
        for key, value in self._node.value:
            key_node = YamlNode(key, self._source, self.path)
            key_text = key_node.text("a key")
            path = f"{self.path}.{key_text}" if self.path else key_text
            value_node = YamlNode(value, self._source, path)
            # A value may be written on the line below its key; errors name the line of the key.
            value_node._line = key_node._line
            if key_text in by_key:
                value_node.raise_error("given twice: keep one")
            by_key[key_text] = value_node
        return by_key

    def check_keys(
        self, fields: Mapping[str, YamlNode], allowed: Iterable[str], owner: str
    ) -> None:
        """Raise ConfigurationError for the first field that is not allowed; `owner` has the fields."""
        names = tuple(allowed)
        for key, value_node in fields.items():
            if key not in names:
                suggestion = suggest(key, names)
                value_node.raise_error(
                    f"{owner} has no `{key}`{suggestion}: it takes {', '.join(names)}"
                )


def suggest(name: str, names: Iterable[str]) -> str:
    """` (did you mean ...?)` where one of the names is close, else nothing."""
    from difflib import get_close_matches

    closest = get_close_matches(name, [*names], 1)
    return f" (did you mean `{closest[0]}`?)" if closest else ""


def parse_yaml(text: str, source: str) -> YamlNode | None:
    """The whole file; None where it is empty. Raises ConfigurationError where it is not YAML."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except RecursionError as error:
        raise ConfigurationError(f"{source}: is nested too deep: write it flatter") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(
            f"{source}{line}: not YAML: {error.problem or error.context}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    return None if node is None else YamlNode(node, source, "")
