"""The flow of the demo: `penstock run` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from flows.process.shutdown import GRACE_S
from state.errors import UserError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

KILL_AFTER_S = GRACE_S + 2


class DemoFlowError(UserError):
    """The flow ended by itself. What to do: its last line says why."""


class FlowProcess:
    """The process, which runs inside the block. It ends when the demo says so, not by Ctrl-C."""

    def __init__(self, args: argparse.Namespace, redis_url: str, folder: Path) -> None:
        options = [
            "--source",
            "redis",
            "--redis",
            redis_url,
            "--recovery",
            str(folder / "recovery"),
        ]
        options += ["--dead-letters", str(folder / "dead-letters.jsonl")]
        options += ["--config", str(args.config)] if args.config else []
        options += [word for one in args.set for word in ("--set", one)]
        self._command = [sys.executable, "-m", "flows", "run", *options]
        self._log = folder / "flow.log"
        self._pid = folder / "pid"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FlowProcess:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C goes to the demo only
            )
        # The guard of the demo's Redis ends the flow of a demo that was killed.
        self._pid.write_text(str(self._process.pid))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise DemoFlowError where the flow has ended."""
        if self._process is not None and self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise DemoFlowError(f"the flow ended: {lines[-1] if lines else 'it said nothing'}")

    def stop(self) -> None:
        """Let the flow write everything, and end it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pid.unlink()
        self._process = None
