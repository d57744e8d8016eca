"""Commands run in a test: their exit code and output, and a reader that is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.commands.cli import main
from operators.readers import registry as readers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pytest

    from state.dead_letters import DeadLetter
    from state.events import Event


ROOT = Path(__file__).parents[3]
EVENTS = 3000


class CommandResult(NamedTuple):
    code: int
    out: list[str]
    err: list[str]


class Terminal:
    """Runs commands in a folder of its own."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def run(self, *words: str | Path) -> CommandResult:
        code = main([str(word) for word in words])
        output = self._capfd.readouterr()
        return CommandResult(code, output.out.splitlines(), output.err.splitlines())

    def report(self, *words: str | Path) -> dict[str, Any]:
        """Run a replay that succeeds and return its report."""
        ran = self.run("replay", *words, "--report", "report.json")
        assert (ran.code, ran.err) == (0, [])
        report: dict[str, Any] = json.loads(Path("report.json").read_bytes())
        return report


def interrupt_reading(monkeypatch: pytest.MonkeyPatch, then: Any, after: int = 500) -> None:
    """Call `then` once the reader of canonical events has read `after` of them."""
    read = readers.READERS["penstock"]

    def interrupted(
        lines: Iterable[bytes], *, source: str, now_ms: int
    ) -> Iterator[Event | DeadLetter]:
        for n, record in enumerate(read(lines, source=source, now_ms=now_ms)):
            yield record
            if n == after:
                then()

    monkeypatch.setitem(readers.READERS, "penstock", interrupted)


def raise_unforeseen() -> None:
    raise ZeroDivisionError("a fault that no code foresees")
