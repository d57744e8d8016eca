"""A signal sets the stop flag, whatever the process is doing when it arrives."""

from __future__ import annotations

import subprocess
import sys

PATIENCE_S = 60

IN_THE_MIDDLE = """
import signal
from flows.process.shutdown import stop_on_signal

with stop_on_signal() as stop:
    with stop._cond:  # as `stop.wait` does at that moment
        signal.raise_signal(signal.SIGTERM)
    stop.wait()
"""


def test_a_signal_while_the_flag_is_read_is_not_lost() -> None:
    words = [sys.executable, "-c", IN_THE_MIDDLE]
    assert subprocess.run(words, timeout=PATIENCE_S, check=False).returncode == 0
