"""A background thread that runs for as long as a `with` block."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def background_thread(name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `work` in a thread while inside. `work` must return soon after its event is set."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
