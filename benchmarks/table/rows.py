"""What a row of the table is, and how it is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Row:
    """A figure with what it has to reach `at_least`, and what it should (`aim`).

    Smaller is better where the aim is below what is asked at least.
    """

    name: str
    figure: str
    at_least: float
    aim: float

    def verdict(self, value: float) -> str:
        """What was reached: the aim, the least, or neither."""
        sign = 1 if self.aim >= self.at_least else -1
        if sign * value >= sign * self.aim:
            return "aim"
        return "reached" if sign * value >= sign * self.at_least else "MISSED"

    def line(self, value: float) -> str:
        """The row as text."""
        return (
            f"{self.name:<16} {self.figure:<62} {value:>9.4g} {self.at_least:>9.4g} "
            f"{self.aim:>9.4g}  {self.verdict(value)}"
        )


HEADER = f"{'row':<16} {'figure':<62} {'value':>9} {'at least':>9} {'aim':>9}"


@dataclass(frozen=True)
class Part:
    """Rows that one run measures; `is_quick` if it takes less than about two minutes."""

    rows: tuple[Row, ...]
    measure: Callable[[Options], Mapping[str, float]]
    is_quick: bool = False


@dataclass(frozen=True)
class Options:
    """How long to measure. `events` of the canonical law, `rounds` of pairs whose median counts."""

    events: int = 300_000
    rounds: int = 3
    seconds: float = 600.0
