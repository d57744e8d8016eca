"""From `segments.yaml` to rules: strict, and every error names file, line and path and what to
write.

This file has what is true of all segments: ids, names, references to each other, limits. What a
condition may say is in `conditions`. The language is described in docs/segments.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from operators.segments.rules.conditions.comparison import CONDITION_EXAMPLE, parse_comparison
from operators.segments.rules.conditions.registry import CONDITION_PARSERS
from operators.segments.rules.rule import Rule
from operators.segments.rules.yaml_nodes import parse_yaml, suggest

if TYPE_CHECKING:
    from operators.segments.rules.conditions.base import Condition
    from operators.segments.rules.yaml_nodes import YamlNode

_SEGMENT_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_RESERVED_PREFIXES = ("cluster-", "rfm-", "lifecycle-", "propensity-")
"""Begin the ids of segments that are computed over all shoppers."""
_SYNONYMS = {"and": "all", "or": "any", "none": "not", "absent": "no", "then": "sequence"}
NAME_CHARS_MAX = 100
DEPTH_MAX = 50
"""How deep conditions may lie in each other, segments that are referred to included."""
CONDITIONS_MAX = 1000
"""How many conditions a rule may come to, those of segments it refers to included."""


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """The rules of a file, in its order. Raises ConfigurationError for whatever is wrong with it."""
    root = parse_yaml(text, source)
    if root is None:
        return ()
    return _RuleParser(root).rules()


class _RuleParser:
    """Parses one file: a rule may refer to one that comes after it."""

    def __init__(self, root: YamlNode) -> None:
        self._entries = root.fields("segments by id, as in `big-spenders: {when: revenue > 500}`")
        self._fields = {
            segment_id: _segment_fields(segment_id, entry)
            for segment_id, entry in self._entries.items()
        }
        self._parsed: dict[str, tuple[Condition, int]] = {}
        self._open_segments: list[str] = []
        self._depth = self._condition_count = 0

    def rules(self) -> tuple[Rule, ...]:
        """All rules; two that mean the same are refused."""
        rules = tuple(self._parse_rule(segment_id) for segment_id in self._entries)
        ids_by_digest: dict[int, str] = {}
        for rule in rules:
            first_id = ids_by_digest.setdefault(rule.digest, rule.id)
            if first_id != rule.id:
                self._entries[rule.id].raise_error(
                    f"is the same segment as `{first_id}`: remove one"
                )
        return rules

    def parse_node(self, entry: YamlNode) -> Condition:
        """Parse a condition, within the limits of depth and number."""
        self._depth += 1
        if self._depth > DEPTH_MAX:
            entry.raise_error(f"is more than {DEPTH_MAX} conditions deep: write it flatter")
        condition = self._parse_condition(entry)
        self._depth -= 1
        self._condition_count += 1
        if self._condition_count > CONDITIONS_MAX:
            entry.raise_error(f"has more than {CONDITIONS_MAX:,} conditions: make it smaller")
        return condition

    def parse_reference(self, entry: YamlNode) -> Condition:
        """The condition of the segment with this id; a circle of references is refused."""
        segment_id = entry.text("the id of another segment of this file")
        if segment_id in self._open_segments:
            first = self._open_segments.index(segment_id)
            cycle = " -> ".join([*self._open_segments[first:], segment_id])
            entry.raise_error(f"refers to itself ({cycle}): remove one of the references")
        if segment_id.startswith(_RESERVED_PREFIXES):
            entry.raise_error(
                f"`{segment_id}` is computed over all shoppers, after the rules: a rule can refer "
                "to segments of this file only; repeat its meaning as conditions"
            )
        if segment_id not in self._entries:
            suggestion = suggest(segment_id, self._entries)
            entry.raise_error(f"there is no segment `{segment_id}` in this file{suggestion}")
        return self._parse_segment(segment_id)

    def current_segment(self) -> str:
        """The id of the segment whose condition is being parsed."""
        return self._open_segments[-1]

    def _parse_rule(self, segment_id: str) -> Rule:
        fields = self._fields[segment_id]
        condition = self._parse_segment(segment_id)
        name = segment_id.replace("-", " ").capitalize()
        if "name" in fields:
            name = fields["name"].text("the name that people see")
            if len(name) > NAME_CHARS_MAX:
                fields["name"].raise_error(
                    f"is longer than {NAME_CHARS_MAX} characters: say the rest in `description:`"
                )
        description = ""
        if "description" in fields:
            description = fields["description"].text("what the segment is for")
        return Rule(segment_id, name, description, condition, condition.describe())

    def _parse_segment(self, segment_id: str) -> Condition:
        """The condition of a segment, parsed once; its conditions count in each rule that refers to
        it."""
        if segment_id not in self._parsed:
            self._open_segments.append(segment_id)
            outer_count, self._condition_count = self._condition_count, 0
            condition = self.parse_node(self._fields[segment_id]["when"])
            self._parsed[segment_id] = condition, self._condition_count
            self._condition_count = outer_count
            self._open_segments.pop()
        condition, count = self._parsed[segment_id]
        self._condition_count += count
        return condition

    def _parse_condition(self, entry: YamlNode) -> Condition:
        if entry.is_text:
            return parse_comparison(entry)
        fields = entry.fields(f"a condition, as in {CONDITION_EXAMPLE}")
        keys = [key for key in CONDITION_PARSERS if key in fields]
        if len(keys) != 1:
            entry.raise_error(
                f"a condition has one of {', '.join(CONDITION_PARSERS)}, "
                f"this has {_wrong_keys(keys, fields)}"
            )
        return CONDITION_PARSERS[keys[0]](self, entry, fields)


def _segment_fields(segment_id: str, entry: YamlNode) -> dict[str, YamlNode]:
    """What is written below the id of a segment."""
    if not _SEGMENT_ID.fullmatch(segment_id):
        entry.raise_error("an id has small letters, digits and hyphens, at most 64")
    if segment_id.startswith(_RESERVED_PREFIXES):
        entry.raise_error(
            f"ids that begin with `{segment_id.split('-')[0]}-` are of computed segments: "
            "choose another id"
        )
    fields = entry.fields("`when:` and what you like of `name:`, `description:`")
    entry.check_keys(fields, ("name", "description", "when"), "a segment")
    if "when" not in fields:
        entry.raise_error(
            f"`when:` is missing: say who is in it, as in `when: {CONDITION_EXAMPLE}`"
        )
    return fields


def _wrong_keys(keys: list[str], fields: dict[str, YamlNode]) -> str:
    """What a mapping has instead of the one key of a condition."""
    if keys:
        return f"both `{keys[0]}` and `{keys[1]}`"
    text = "none"
    for written in fields:
        meant = _SYNONYMS.get(written.lower(), written.lower())
        text += f" (for `{written}` write `{meant}`)" if meant in CONDITION_PARSERS else ""
    return text
