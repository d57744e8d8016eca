"""Versions of segments by rule: a rule that means something else is a new version of its segment.

Memberships change at once (`operators.segments.rules.engine`); this file records since when each
rule is live.
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

    from operators.segments.rules.rule import Rule
    from state.messages import Write


class RuleVersions:
    """Which version of each rule is live; `stored` are the versions of the run before, by segment."""

    def __init__(
        self, rules: Sequence[Rule], stored: Mapping[str, RuleVersion] | None = None
    ) -> None:
        self._rules = rules
        self.versions = dict(stored or {})
        self._is_up_to_date = False

    def detect_changes(self, now_ms: int, size_of: Callable[[str], int]) -> list[Write]:
        """Compare the rules of this run with the stored versions, once; writes those that begin now.

        `size_of` gives the size of a segment, transitions of this batch included.
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
        """The definitions of all segments by rule, live or retired, with the time of each."""
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
