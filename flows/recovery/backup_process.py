"""The keeper: a process beside the flow that copies what is stored and clears away what is not needed.

A process of its own, because SQLite's locks do not hold between two copies of the library in one, and
the flow has its own copy. It ends when the process that started it does, however that ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flows.process.printing import complain
from flows.recovery import backup, checkpoint_reader
from state import private_files
from state.errors import UserError

if TYPE_CHECKING:
    from state.config import Settings

_FIRST_AFTER_S = 5.0
"""A run that is over before that needs no keeper."""

_LOOK_S = 0.2
_END_S = 5.0

_SWEEP_S = 10.0
"""Between two looks at what is not needed any more: that long it takes its place on the disk."""

_log = logging.getLogger("penstock.keeper")


class Keeper:
    """Keeps a recovery folder while inside: the process is started again should it end."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        words = [folder, settings.recovery.checkpoint_s, settings.sessions.shards]
        self._command = [sys.executable, "-m", "flows.recovery.backup_process", *map(str, words)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        """Start it, after a moment."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, whatever it is doing."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_FIRST_AFTER_S):
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            while process.poll() is None and not self._over.wait(_LOOK_S):
                pass
            if process.returncode is not None:
                if self._over.wait(_LOOK_S):  # the end of the run, told to both at once
                    return
                _log.warning("the keeper of the recovery folder ended: it starts again")
                continue
            try:
                process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:  # it was stopped, or waits for a disk
                process.kill()
                process.communicate()


def keep(folder: Path, checkpoint_s: int, shards: int) -> None:
    """Copy every `checkpoint_s`, clear away more often, for ever; what fails is said and tried again."""
    due_s = time.monotonic() + checkpoint_s - _FIRST_AFTER_S
    while True:
        time.sleep(min(_SWEEP_S, checkpoint_s))
        try:
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + checkpoint_s
                backup.make(folder, shards=shards)
            checkpoint_reader.sweep(
                folder / "rows", checkpoint_reader.referenced(folder / "store"), newer=False
            )
        except UserError as error:
            complain(f"keeping the previous snapshot: {error}")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    # Both may be sent to the whole group: the flow ends it, by closing its input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    here = Path(sys.argv[1])
    with open(here / "lock-keeper", "w", opener=private_files.opener) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keep(here, int(sys.argv[2]), int(sys.argv[3]))
