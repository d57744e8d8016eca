"""`segment: other-id`: the condition of another segment of the same file, which takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.segments.rules.conditions.base import Condition, RuleParser
    from operators.segments.rules.yaml_nodes import YamlNode


def parse_segment(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`segment: id`."""
    entry.check_keys(fields, ("segment",), "`segment`")
    return parser.parse_reference(fields["segment"])
