"""A rule: a segment of `segments.yaml`, parsed."""

from __future__ import annotations

import msgspec

from operators.segments.rules.conditions.base import Condition
from operators.segments.rules.digests import digest


class Rule(msgspec.Struct, frozen=True):
    """A segment by rule. References to other segments are resolved in `when`.

    `words` is the condition as people read it.
    """

    id: str
    name: str
    description: str
    when: Condition
    words: str

    @property
    def digest(self) -> int:
        """Names the condition: a rule that means something else has another digest."""
        return digest(self.when)
