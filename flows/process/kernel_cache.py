"""Compiles all kernels before a flow starts, with a cache folder that can be written.

Without one, a process compiles anew, and says so: it needs no cache to work. Two processes may fill
one cache at the same time.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from operators.kernels import compiler

if TYPE_CHECKING:
    from state.config import Settings

PREBUILT = Path(sys.prefix, "share", "penstock", "kernels")
"""Where the build of an image puts compiled kernels: a first start copies them from there."""

_log = logging.getLogger("penstock.kernels")


def prepare_kernels(settings: Settings, recovery_folder: Path | None) -> None:
    """Compile or load all kernels, so that no batch waits for the compiler."""
    began_s = time.monotonic()
    previous_umask = os.umask(0o077)  # nobody else may change code that a process loads
    try:
        folder = open_cache(settings, recovery_folder)
        cached = [is_cached for _, is_cached in compiler.compile_all()]
    finally:
        os.umask(previous_umask)
    if not all(cached):
        _log.info(
            "compiled %d of %d kernels in %.1f s%s",
            cached.count(False),
            len(cached),
            time.monotonic() - began_s,
            f"; the next start loads them from {folder}" if folder else "",
            extra={"event": "kernels_compiled"},
        )


def open_cache(settings: Settings, recovery_folder: Path | None = None) -> Path | None:
    """Use the configured cache folder, or the default one; None if it cannot be written."""
    folder = cache_folder(settings, recovery_folder)
    try:
        compiler.use_cache(folder, prebuilt=(PREBUILT, user_cache()))
    except OSError as error:
        compiler.use_cache(None)
        _log.warning(
            "%s cannot be written (%s): kernels are compiled anew at each start, which takes about "
            "half a minute; set runtime.kernel_cache to a folder that can be written",
            folder,
            error.strerror,
            extra={"event": "kernel_cache_unwritable"},
        )
        return None
    return folder


def cache_folder(settings: Settings, recovery_folder: Path | None = None) -> Path:
    """The configured folder; else `kernels/` of the recovery folder; else one in the user's cache.

    >>> from state.config import Settings
    >>> cache_folder(Settings(), Path("recovery")).as_posix()
    'recovery/kernels'
    """
    if settings.runtime.kernel_cache:
        return Path(settings.runtime.kernel_cache)
    if recovery_folder is not None:
        return recovery_folder / "kernels"
    return user_cache()


def user_cache() -> Path:
    """The folder in the user's cache: `penstock warm` fills it, new recovery folders copy it."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "penstock" / "kernels"
