"""The keeper: a process beside the flow that copies what is stored and clears away what is not needed.

A process of its own, because SQLite's locks do not hold between two copies of the library in one, and
the flow has its own copy. It ends when the process that started it does, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flows import checkpoint, cuts
from state.errors import UserError

if TYPE_CHECKING:
    from state.config import Settings

_FIRST_AFTER_S = 5.0
"""A run that is over before that needs no keeper."""

_SWEEP_S = 10.0
"""Between two looks at what is not needed any more: that long it takes its place on the disk."""


class Keeper:
    """Keeps a recovery folder while inside."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._words = [folder, settings.recovery.checkpoint_s, settings.sessions.shards]
        self._process: subprocess.Popen[bytes] | None = None
        self._timer = threading.Timer(_FIRST_AFTER_S, self._start)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Start it, after a moment."""
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, whatever it is doing."""
        self._timer.cancel()
        self._timer.join()
        if self._process is not None:
            self._process.communicate()

    def _start(self) -> None:
        words = [str(word) for word in self._words]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flows.keeper", *words],
            stdin=subprocess.PIPE,
        )


def keep(folder: Path, checkpoint_s: int, shards: int) -> None:
    """Copy every `checkpoint_s`, clear away more often, for ever; what fails is said and tried again."""
    due_s = time.monotonic() + checkpoint_s - _FIRST_AFTER_S
    while True:
        time.sleep(min(_SWEEP_S, checkpoint_s))
        try:
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + checkpoint_s
                checkpoint.make(folder, shards=shards)
            cuts.sweep(folder / "rows", cuts.referenced(folder / "store"), newer=False)
        except UserError as error:
            print(f"penstock: keeping the previous snapshot: {error}", file=sys.stderr)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    here = Path(sys.argv[1])
    with (here / "lock-keeper").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keep(here, int(sys.argv[2]), int(sys.argv[3]))
