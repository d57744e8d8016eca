"""A worker process of a supervised cluster: it ends with its supervisor and reports its progress."""

from __future__ import annotations

import ctypes
import os
import signal

from flows.observability import metrics
from flows.process import liveness

SUPERVISOR_VARIABLE = "PENSTOCK_SUPERVISOR"
"""Environment variable with the supervisor's process id."""
_PR_SET_PDEATHSIG = 1


def is_supervised() -> bool:
    """Whether a supervisor started this process."""
    return liveness.PROGRESS_VARIABLE in os.environ


def attach_to_supervisor() -> None:
    """Report progress to the supervisor, and end together with it, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The supervisor may have ended before that call.
    if os.getppid() != int(os.environ[SUPERVISOR_VARIABLE]):
        os.kill(os.getpid(), signal.SIGKILL)
    metrics.RESTARTS.inc(int(os.environ[metrics.RESTARTS_VARIABLE]))
    liveness.attach_shared_memory(int(os.environ[liveness.PROGRESS_VARIABLE]))
