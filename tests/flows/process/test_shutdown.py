"""A signal is a request to stop, whatever the process is doing when it comes."""

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


def test_a_signal_in_the_middle_of_a_look_at_the_flag_is_heard() -> None:
    words = [sys.executable, "-c", IN_THE_MIDDLE]
    assert subprocess.run(words, timeout=PATIENCE_S, check=False).returncode == 0
