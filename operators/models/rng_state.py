"""The state of a random generator as an array, so that a snapshot can hold it. The format is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW = (1 << 64) - 1


def dump_rng(rng: np.random.Generator) -> NDArray[np.uint64]:
    """The state of a PCG64 generator, uint64[6]."""
    state = rng.bit_generator.state
    position, step = state["state"]["state"], state["state"]["inc"]
    words = [position >> 64, position & _LOW, step >> 64, step & _LOW]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def load_rng(array: NDArray[Any]) -> np.random.Generator:
    """The generator whose state `dump_rng` gave.

    >>> a = np.random.default_rng(7); b = load_rng(dump_rng(a)); bool(a.random() == b.random())
    True
    """
    high, low, step_high, step_low, has_uint32, uinteger = (int(word) for word in array)
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": step_high << 64 | step_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)
