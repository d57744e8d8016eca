"""Bytewax's Rust side prints a panic for every exception that leaves a dataflow: kept aside here."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from io import UnsupportedOperation
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_ERROR = 2

_LOST_PEER = ("Send thread panic", "Recv thread panic")


def is_lost_peer(error: BaseException) -> bool:
    """Whether a panic of Bytewax says that another process of the cluster hung up."""
    return any(words in str(error) for words in _LOST_PEER)


@contextmanager
def panics_as_notes() -> Iterator[None]:
    """What is written to file descriptor 2 while inside becomes a note of the error that ends it.

    `sys.stderr` goes on to where it went.
    """
    with TemporaryFile() as aside, _python_elsewhere():
        terminal = os.dup(STANDARD_ERROR)
        os.dup2(aside.fileno(), STANDARD_ERROR)
        try:
            yield
        except BaseException as error:
            aside.seek(0)
            error.add_note(aside.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(terminal, STANDARD_ERROR)
            os.close(terminal)


@contextmanager
def _python_elsewhere() -> Iterator[None]:
    """Let `sys.stderr` write to a descriptor of its own, unless it does not use number 2 anyway."""
    before = sys.stderr
    try:
        shared = before.fileno() == STANDARD_ERROR
    except (UnsupportedOperation, AttributeError):
        shared = False
    if not shared:
        yield
        return
    before.flush()
    with open(os.dup(STANDARD_ERROR), "w", buffering=1, encoding=before.encoding) as sys.stderr:
        try:
            yield
        finally:
            sys.stderr = before
