"""Captures the panics that Bytewax's Rust code prints for every exception that leaves a dataflow."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from io import UnsupportedOperation
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STDERR_FD = 2

_PEER_DISCONNECT_TEXTS = ("Send thread panic", "Recv thread panic")


def is_peer_disconnect(error: BaseException) -> bool:
    """Whether a panic of Bytewax means that another process of the cluster disconnected."""
    return any(text in str(error) for text in _PEER_DISCONNECT_TEXTS)


@contextmanager
def capture_panics() -> Iterator[None]:
    """Capture file descriptor 2 while inside, and add its text as a note to an exception.

    `sys.stderr` still writes to the original destination.
    """
    with TemporaryFile() as captured, _redirect_stderr():
        terminal = os.dup(STDERR_FD)
        os.dup2(captured.fileno(), STDERR_FD)
        try:
            yield
        except BaseException as error:
            captured.seek(0)
            error.add_note(captured.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(terminal, STDERR_FD)
            os.close(terminal)


@contextmanager
def _redirect_stderr() -> Iterator[None]:
    """Give `sys.stderr` its own descriptor while inside, if it uses number 2."""
    original = sys.stderr
    try:
        is_shared = original.fileno() == STDERR_FD
    except (UnsupportedOperation, AttributeError):
        is_shared = False
    if not is_shared:
        yield
        return
    original.flush()
    with open(os.dup(STDERR_FD), "w", buffering=1, encoding=original.encoding) as sys.stderr:
        try:
            yield
        finally:
            sys.stderr = original
