"""Compiles kernels with Numba, and keeps the compiled code in a cache folder.

To add a kernel: a function over arrays in a module of this folder with `@kernel(SIGNATURE)`; what it
calls has `@inlined`. A kernel compiles when it is first called, or when `compile_all` is. The cache
folder has a subfolder for each state of the sources in this folder, since Numba does not see changes
of a function that a kernel calls in another file.

A kernel that raises costs speed and not data: its Python source runs in its place. So a kernel that
changes arrays in place must not raise once it has begun to change them: make room before the call.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import os
import pkgutil
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import numba
from numba.core.caching import NullCache

from operators.kernels.failures import count_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("penstock.kernels")

_FOLDER_MODE = 0o700
"""Nobody else may put code where this process loads it from."""
_OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
_ANY_ORDER_OF_SUMS = {"reassoc", "contract"}
_KERNELS: dict[str, Kernel[..., Any]] = {}
_lock = threading.Lock()


class Kernel(Generic[P, R]):
    """A function that is compiled for one signature. Call it like the function.

    >>> from operators.kernels.compiler import kernel
    >>> @kernel("int64(int64, int64)")
    ... def doctest_add(a: int, b: int) -> int:
    ...     return a + b
    >>> doctest_add(2, 3)
    5
    """

    def __init__(
        self,
        function: Callable[P, R],
        signature: str,
        *,
        any_order_of_sums: bool,
        allocates: bool,
    ) -> None:
        self.python = function
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        self.signature = signature
        options = dict(_OPTIONS, fastmath=_ANY_ORDER_OF_SUMS if any_order_of_sums else False)
        options["_nrt"] = allocates
        self._dispatcher: Any = numba.njit(**options)(function)
        self._compiled: Callable[P, R] = self._compile_and_call
        functools.update_wrapper(self, function)
        _KERNELS[self.name] = self

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of the compiled code, or of its Python source where that raises."""
        try:
            return self._compiled(*args, **kwargs)
        except MemoryError:
            raise
        except Exception:
            count_failure(self.name)
            return self.python(*args, **kwargs)

    def compile(self) -> bool:
        """Compile, or load from the cache; whether it came from the cache."""
        with _lock:
            if self._compiled is not self._dispatcher and not numba.config.DISABLE_JIT:
                if numba.config.CACHE_DIR:
                    # Source that lies in no file, as of a doctest, cannot be cached.
                    with suppress(RuntimeError):
                        self._dispatcher.enable_caching()
                try:
                    self._dispatcher.compile(self.signature)
                except Exception:
                    if not numba.config.CACHE_DIR:
                        raise
                    # A damaged file of the cache: it is not worth more than the time to compile.
                    log.warning("%s: its cached code cannot be read: compiled anew", self.name)
                    self._dispatcher._cache = NullCache()
                    self._dispatcher.compile(self.signature)
                self._dispatcher.disable_compile()
            self._compiled = self._dispatcher
        return bool(getattr(self._dispatcher, "stats", None) and self._dispatcher.stats.cache_hits)

    def _compile_and_call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        self.compile()
        return self._compiled(*args, **kwargs)


def kernel(
    signature: str, *, any_order_of_sums: bool = False, allocates: bool = True
) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Make a function a kernel of one Numba signature, such as "int64(int64[::1], float64[:, ::1])".

    `any_order_of_sums` lets the compiler reorder sums, for dot products of vectors; the test that holds
    the kernel and its reference equal must allow for it. A kernel that makes no array says
    `allocates=False` and calls `@inlined_bare` functions: then references to arrays are not counted,
    at each call two atomic operations an array.
    """
    return lambda function: Kernel(
        function, signature, any_order_of_sums=any_order_of_sums, allocates=allocates
    )


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function callable from kernels. It has no signature and is compiled into its callers."""
    compiled: Callable[P, R] = numba.njit(**_OPTIONS)(function)
    return compiled


def inlined_bare(function: Callable[P, R]) -> Callable[P, R]:
    """The same for a function that makes no array: references to arrays are not counted."""
    compiled: Callable[P, R] = numba.njit(**_OPTIONS, _nrt=False)(function)
    return compiled


def inlined_sums(function: Callable[P, R]) -> Callable[P, R]:
    """Like `inlined_bare`; the compiler may reorder the sums in it, for dot products of vectors."""
    options = dict(_OPTIONS, _nrt=False, fastmath=_ANY_ORDER_OF_SUMS)
    compiled: Callable[P, R] = numba.njit(**options)(function)
    return compiled


def use_cache(folder: Path | None, *, prebuilt: Sequence[Path] = ()) -> None:
    """Keep compiled code in a folder from now on; without one, compile in every process.

    A new folder begins with what the first of the `prebuilt` ones has, which may be read-only. Raises
    OSError where the folder cannot be written.
    """
    if folder is None:
        numba.config.CACHE_DIR = ""
        return
    current = folder / _current_name()
    if not current.exists():
        for source in (one / current.name for one in prebuilt):
            if source.is_dir():
                shutil.copytree(source, current, copy_function=_link_or_copy, dirs_exist_ok=True)
                break
    current.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    probe = current / f".writable-{threading.get_ident()}"
    probe.touch()
    probe.unlink(missing_ok=True)
    numba.config.CACHE_DIR = str(current)


def remove_stale(folder: Path) -> None:
    """Remove what other releases of this installation left in a cache folder."""
    current = _current_name()
    for entry in folder.glob(f"{current.rpartition('-')[0]}-*"):
        if entry.name != current:
            shutil.rmtree(entry, ignore_errors=True)


def compile_all() -> Iterator[tuple[str, bool]]:
    """Compile each kernel below this folder; its name, and whether it was loaded from the cache."""
    package = importlib.import_module(__package__)
    for module in sorted(
        one.name for one in pkgutil.walk_packages(package.__path__, f"{__package__}.")
    ):
        importlib.import_module(module)
    for name, one in sorted(_KERNELS.items()):
        if one.python.__module__.startswith(f"{__package__}."):
            yield name, one.compile()


def _link_or_copy(source: str, target: str) -> None:
    """Files of a cache are replaced and never changed, so two folders may share them."""
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:
        shutil.copy2(source, target)


@functools.cache
def _current_name() -> str:
    """The subfolder of this installation and of the sources of its kernels."""
    folder = Path(__file__).parent
    sources = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for source in sorted(folder.rglob("*.py")):
        sources.update(source.relative_to(folder).as_posix().encode())
        sources.update(source.read_bytes())
    installation = hashlib.blake2b(str(folder).encode(), digest_size=4)
    return f"{installation.hexdigest()}-{sources.hexdigest()}"
