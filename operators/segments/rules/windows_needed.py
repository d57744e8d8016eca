"""What rules keep of a shopper's events: one window for all conditions that look at the same events."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from operators.segments.rules import windows
from operators.segments.rules.filters import Filter
from operators.segments.rules.windows import PAIR_BYTES, TIME_BYTES


class WindowKind(msgspec.Struct, frozen=True):
    """A window: its key in the shopper's state, which events go into it and what is kept of each.

    `form` is `times`, `keyed`, `items` or `sums` (`operators.segments.rules.windows`), `measured`
    what is counted or added, `entries_max` how many entries are needed. Sums are kept for
    `within_ms`, None for ever.
    """

    key: int
    events: Filter
    form: str
    measured: str
    entries_max: int
    within_ms: int | None = None

    @property
    def bytes_max(self) -> int:
        """The greatest length of the window; sums have none."""
        return self.entries_max * (TIME_BYTES if self.form == "times" else PAIR_BYTES)

    def merge(self, first: bytes, second: bytes, now_ms: int) -> bytes:
        """One window of the two that two shoppers have who are one person."""
        if self.form == "times":
            return windows.merge_times(first, second, self.bytes_max)
        if self.form == "keyed":
            return windows.merge_keys(first, second, self.bytes_max)
        if self.form == "items":
            return windows.merge_items(first, second, self.bytes_max)
        return windows.merge_amounts(first, second, self.within_ms, now_ms)


class WindowUse(NamedTuple):
    """A window that a condition needs, and what an event that goes into it may do to the answer.

    `new_answer` is True where it can only become yes, False where it can only become no, None where
    both. With `only_if_late`, an event that is the shopper's newest does nothing yet.
    """

    kind: WindowKind
    new_answer: bool | None
    only_if_late: bool = False
