"""What the `model` keys tell of models: a figure that rests on nothing is left out, and taken back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from state.messages import Write


def figure(value: float, digits: int = 4) -> str:
    """A figure as text, "" for one that rests on nothing (nan).

    >>> figure(0.25), figure(math.nan)
    ('0.2500', '')
    """
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def share(part: float, of: float) -> float:
    """What part of something; nan where there is nothing.

    >>> share(1, 4), share(0, 0)
    (0.25, nan)
    """
    return part / of if of > 0 else math.nan


def model(name: str, fields: Mapping[str, str | int]) -> list[Write]:
    """The fields of the `model` key of a name; those that are "" are taken out."""
    key = keys.model_key(name)
    said = [part for pair in fields.items() if pair[1] != "" for part in pair]
    gone = [field for field, value in fields.items() if value == ""]
    writes: list[Write] = [("HSET", key, *said)]
    if gone:
        writes.append(("HDEL", key, *gone))
    return writes
