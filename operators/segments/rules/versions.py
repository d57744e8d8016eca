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
from state.segments import RETIRED, Definition, definition_writes
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
        self._is_settled = False

    def settle(self, now_ms: int, size_of: Callable[[str], int]) -> list[Write]:
        """Go over to the rules of this run, once; what to write of versions that begin or end now.

        `size_of` gives how many are in a segment, who just entered and left it included.
        """
        if self._is_settled:
            return []
        self._is_settled = True
        writes: list[Write] = []
        for rule in self._rules:
            was = self.versions.get(rule.id)
            version = 1 if was is None else was.version + 1
            if was is not None and was.digest == rule.digest and was.status != RETIRED:
                version, from_ms = was.version, was.from_ms
            else:
                from_ms = now_ms
                said = {"rule": rule.words, "from_ms": now_ms, "size": size_of(rule.id)}
                text = orjson.dumps(said).decode()
                writes.append(("HSET", keys.versions_key(rule.id), version, text))
            self.versions[rule.id] = RuleVersion(
                rule.digest, version, from_ms, rule.name, rule.description, rule.words
            )
        live = {rule.id for rule in self._rules}
        for sid, was in self.versions.items():
            if sid not in live and was.status != RETIRED:
                self.versions[sid] = msgspec.structs.replace(was, from_ms=now_ms, status=RETIRED)
        return writes

    def definitions(self) -> list[Write]:
        """What all segments by rule are or were, and since when."""
        writes: list[Write] = []
        for sid, one in sorted(self.versions.items()):
            said = (one.name, one.description, one.rule, one.version, one.status)
            writes += definition_writes([Definition(sid, "rule", *said)], one.from_ms)
        return writes
