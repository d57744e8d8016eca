"""Versions of segments by rule: a rule that says something else is a new version of its segment.

Who is in it changes at once, from what is known of everybody (`operators.segments.rules.engine`);
here it is
written down since when which rule holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson

from state import keys
from state.segments import RETIRED, SegmentDefinition, definition_writes
from state.snapshots import RuleVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from operators.segments.rules.ast import Rule
    from state.messages import Write


class RuleVersions:
    """Which version of each rule is live. `stored` is what a run before this one knew, by segment."""

    def __init__(
        self, rules: Sequence[Rule], stored: Mapping[str, RuleVersion] | None = None
    ) -> None:
        self._rules = rules
        self.versions = dict(stored or {})
        self._is_up_to_date = False

    def detect_changes(self, now_ms: int, size_of: Callable[[str], int]) -> list[Write]:
        """Go over to the rules of this run, once; what to write of versions that begin or end now.

        `size_of` gives how many are in a segment, who just entered and left it included.
        """
        if self._is_up_to_date:
            return []
        self._is_up_to_date = True
        writes: list[Write] = []
        for rule in self._rules:
            previous = self.versions.get(rule.id)
            version = 1 if previous is None else previous.version + 1
            if (
                previous is not None
                and previous.digest == rule.digest
                and previous.status != RETIRED
            ):
                version, from_ms = previous.version, previous.from_ms
            else:
                from_ms = now_ms
                version_fields = {"rule": rule.words, "from_ms": now_ms, "size": size_of(rule.id)}
                text = orjson.dumps(version_fields).decode()
                writes.append(("HSET", keys.versions_key(rule.id), version, text))
            self.versions[rule.id] = RuleVersion(
                rule.digest, version, from_ms, rule.name, rule.description, rule.words
            )
        live_ids = {rule.id for rule in self._rules}
        for rule_id, previous in self.versions.items():
            if rule_id not in live_ids and previous.status != RETIRED:
                self.versions[rule_id] = msgspec.structs.replace(
                    previous, from_ms=now_ms, status=RETIRED
                )
        return writes

    def definitions(self) -> list[Write]:
        """What all segments by rule are or were, and since when."""
        writes: list[Write] = []
        for rule_id, rule_version in sorted(self.versions.items()):
            definition_fields = (
                rule_version.name,
                rule_version.description,
                rule_version.rule,
                rule_version.version,
                rule_version.status,
            )
            writes += definition_writes(
                [SegmentDefinition(rule_id, "rule", *definition_fields)], rule_version.from_ms
            )
        return writes
