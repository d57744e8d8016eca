"""Estimators as bytes: pickles that are read without running anything but River's own classes.

River can store a model only as a pickle, and a pickle may name any function. So this reader knows a
list: classes of River that learn, and the few types of Python and NumPy that they are made of. Bytes
that name anything else are refused, whoever wrote them into the recovery folder. To allow another
type: a line in `PLAIN_TYPES`, if it neither runs code nor opens anything.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
from random import Random
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from river.__version__ import __version__ as river_version
from river.base import Base

from state.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = f"1 {river_version}"
"""The version of stored estimators. River's pickles do not survive its releases: those of another
version are not read, and the estimator starts from empty."""
_PROTOCOL = 5

PLAIN_TYPES = {
    "builtins": {
        "bool",
        "bytearray",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "iter",
        "list",
    }
    | {"object", "range", "set", "slice", "str", "tuple"},
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copy": {"deepcopy"},
    "copyreg": {"__newobj__", "_reconstructor"},
    "datetime": {"date", "datetime", "timedelta"},
    "functools": {"partial"},
    "itertools": {"count"},
    "math": {"exp", "log", "sqrt"},
    "numpy": {"bool", "bool_", "dtype", "float32", "float64", "int32", "int64", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.random._generator": {"Generator"},
    "numpy.random._mt19937": {"MT19937"},
    "numpy.random._pcg64": {"PCG64"},
    "numpy.random._pickle": {"__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"},
    "numpy.random.mtrand": {"RandomState"},
    "random": {"Random"},
}
"""By module, what a pickle may name besides River."""
_OTHER_MODULES = ("checks", "compat", "datasets", "evaluate", "stream")
"""Modules of River that read files or the network, or run what they are given."""


def dump_estimator(estimator: Base) -> bytes:
    """The estimator as bytes. Raises what `pickle` raises for one that cannot be stored."""
    return pickle.dumps(estimator, _PROTOCOL)


def load_estimator(stored: bytes) -> Any:
    """The estimator that `dump_estimator` stored. Raises SnapshotError for anything else."""
    try:
        estimator = _RestrictedUnpickler(io.BytesIO(stored)).load()
    except SnapshotError:
        raise
    except Exception as error:  # damaged bytes raise almost anything
        raise SnapshotError(f"a stored estimator cannot be read: {error}") from error
    if not isinstance(estimator, Base):
        raise SnapshotError(f"a stored estimator is a {type(estimator).__name__}")
    return estimator


class _RestrictedUnpickler(pickle.Unpickler):
    """Reads what estimators are made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name == "getattr":
            return _method
        if name in PLAIN_TYPES.get(module, ()):
            return getattr(importlib.import_module(module), name)
        if module.startswith("river.") and module.split(".")[1] not in _OTHER_MODULES:
            return _part_of_river(module, name)
        raise SnapshotError(f"a stored estimator names {module}.{name}, which is not allowed")


def _part_of_river(module: str, name: str) -> Any:
    """A class of River, or a function that River itself defines: a module may have imported others."""
    parts = name.split(".")
    found = functools.reduce(getattr, parts, importlib.import_module(module))
    home = getattr(found, "__module__", None) or ""
    if isinstance(found, BuiltinFunctionType) and module.startswith("river._river_rust."):
        home = module
    is_hidden = any(part.startswith("__") for part in parts)
    if is_hidden or not callable(found) or not home.startswith("river."):
        raise SnapshotError(f"a stored estimator names {module}.{name}, which is not of River")
    return found


def _method(owner: object, name: str) -> Callable[..., Any]:
    """A bound method, as pickles name it: of a random generator or an estimator."""
    if not isinstance(owner, Random | Base) or name.startswith("__"):
        raise SnapshotError(f"a stored estimator names {type(owner).__name__}.{name}")
    method: Callable[..., Any] = getattr(owner, name)
    return method
