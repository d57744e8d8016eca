"""The backup process: it backs up the recovery folder and deletes journals that are no longer needed.

It is a process of its own because Bytewax has its own copy of SQLite, and SQLite's locks do not
work between two copies in one process. It ends together with the process that started it, however
that ends.
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

from flows.process.printing import print_error
from flows.recovery import backup, cleanup
from state import private_files
from state.errors import RecoveryError

if TYPE_CHECKING:
    from state.config import Settings

_START_DELAY_S = 5.0
"""A shorter run needs no backup process."""

_POLL_S = 0.2
_STOP_TIMEOUT_S = 5.0

_CLEANUP_INTERVAL_S = 10.0
"""The pause between deletions of unreferenced journals, which use disk space until then."""

_log = logging.getLogger("penstock.keeper")  # public: a field of JSON logs


class BackupProcess:
    """Runs the backup process of a recovery folder while inside, and restarts it if it ends."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        arguments = [folder, settings.recovery.checkpoint_s, settings.sessions.shards]
        self._command = [
            sys.executable,
            "-m",
            "flows.recovery.backup_process",
            *map(str, arguments),
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        """Start the process after a short delay."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the process, whatever it is doing."""
        self._stop.set()
        self._thread.join()

    def _supervise(self) -> None:
        while not self._stop.wait(_START_DELAY_S):
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            while process.poll() is None and not self._stop.wait(_POLL_S):
                pass
            if process.returncode is not None:
                if self._stop.wait(_POLL_S):  # a signal to the whole group ended the run too
                    return
                _log.warning("the backup process of the recovery folder ended: it is restarted")
                continue
            try:
                process.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # it is suspended, or waits for the disk
                process.kill()
                process.communicate()


def run_backups(folder: Path, checkpoint_s: int, shards: int) -> None:
    """Back up every `checkpoint_s` and delete unneeded journals, for ever. Log failures and retry."""
    next_backup_s = time.monotonic() + checkpoint_s - _START_DELAY_S
    while True:
        time.sleep(min(_CLEANUP_INTERVAL_S, checkpoint_s))
        try:
            if time.monotonic() >= next_backup_s:
                next_backup_s = time.monotonic() + checkpoint_s
                backup.create_backup(folder, shards=shards)
            cleanup.delete_unreferenced(
                folder / "rows",
                cleanup.referenced_journals(folder / "store"),
                include_newer=False,
            )
        except RecoveryError as error:
            print_error(f"keeping the previous snapshot: {error}")


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    # Both may be sent to the whole process group. The flow ends this process by closing its input.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    recovery_folder = Path(sys.argv[1])
    with open(recovery_folder / "lock-keeper", "w", opener=private_files.opener) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_backups(recovery_folder, int(sys.argv[2]), int(sys.argv[3]))
