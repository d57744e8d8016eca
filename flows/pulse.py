"""The worker's pulse: it beats when the worker moves, so that one that is stuck does not look alive."""

from __future__ import annotations

import time

_beat_s = time.monotonic()
_has_begun = False


def beat() -> None:
    """Called from the worker's own loop, never from a thread beside it."""
    global _beat_s, _has_begun
    _beat_s = time.monotonic()
    _has_begun = True


def age_s() -> float:
    """How long ago the last beat was; before the first one, since the process began."""
    return time.monotonic() - _beat_s


def has_begun() -> bool:
    """Whether there was a beat at all."""
    return _has_begun
