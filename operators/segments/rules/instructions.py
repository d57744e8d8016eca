"""Takes the instructions that conditions write, for `operators.kernels.rule_conditions`.

An instruction is a few numbers: what is asked, whether the answer is negated, and with what. To add a
kind of condition that no instruction can answer, write it as a truth: a function in Python, whose
answer is one bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from operators.kernels import rule_layout as layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from state.shopper import LatestContext, Shopper

    ShopperTruth = Callable[[str], bool]
    """Takes a shopper's id; the answer never changes."""
    Truth = Callable[[Shopper, LatestContext], bool]
    """Takes a shopper and its newest texts."""


class _Emits(Protocol):
    def emit(self, writer: InstructionWriter, is_negated: bool) -> None: ...


class InstructionWriter:
    """Takes the instructions of conditions; `kinds` are the numbers of windows by their keys."""

    def __init__(self, columns: tuple[str, ...], kinds: Mapping[int, int], gap_ms: int) -> None:
        self.columns = columns
        self.kinds = kinds
        self.gap_ms = gap_ms
        self.code: list[int] = []
        self.sequences: list[int] = []
        """Numbers behind the code; instructions name where in them a sequence begins."""
        self.shopper_truths: dict[object, tuple[int, ShopperTruth]] = {}
        self.truths: dict[object, tuple[int, Truth]] = {}
        self.depth_max = 0
        self._open_groups: list[int] = []

    def write(self, operation: int, is_negated: bool, *numbers: int) -> None:
        """Write one instruction."""
        padding = [0] * (layout.INSTRUCTION_SIZE - 2 - len(numbers))
        self.code += [operation, int(is_negated), *numbers, *padding]

    def write_group(self, parts: Iterable[_Emits], is_negated: bool, *, is_all: bool) -> None:
        """Write a group: of negated parts, `all` is `any` and the other way round."""
        self._begin_group(is_negated, is_all=is_all)
        for part in parts:
            part.emit(self, is_negated)
        self._end_group()

    def _begin_group(self, is_negated: bool, *, is_all: bool) -> None:
        self._open_groups.append(len(self.code))
        self.depth_max = max(self.depth_max, len(self._open_groups))
        self.write(layout.BEGIN_ALL if is_all is not is_negated else layout.BEGIN_ANY, False, 0)

    def _end_group(self) -> None:
        self.code[self._open_groups.pop() + 2] = len(self.code) // layout.INSTRUCTION_SIZE
        self.write(layout.END, False)

    def write_range(
        self, window: int, low: int | None, high: int | None, within_ms: int, is_negated: bool
    ) -> None:
        """Write that a window has at least `low` entries and not more than `high`."""
        self._begin_group(is_negated, is_all=True)
        if low is not None and low > 0:
            self.write(layout.AT_LEAST, is_negated, window, low, within_ms)
        if high is not None and high >= 0:
            self.write(layout.AT_LEAST, not is_negated, window, high + 1, within_ms)
        if high is not None and high < 0:
            self.write(layout.ALWAYS, not is_negated)
        self._end_group()

    def column(self, name: str) -> int:
        """The number of a column."""
        return self.columns.index(name)

    def shopper_truth(self, key: object, truth: ShopperTruth) -> int:
        """The number of a truth that never changes for a shopper."""
        return self.shopper_truths.setdefault(key, (len(self.shopper_truths), truth))[0]

    def truth(self, key: object, truth: Truth) -> int:
        """The number of a truth among those that may change."""
        return self.truths.setdefault(key, (len(self.truths), truth))[0]
