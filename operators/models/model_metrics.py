"""Fields of the `model` keys in Redis. A metric that rests on no data is removed from its key."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from state.messages import Write


def format_metric(value: float, digits: int = 4) -> str:
    """A metric as text, "" for nan: it rests on no data.

    >>> format_metric(0.25), format_metric(math.nan)
    ('0.2500', '')
    """
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def ratio(part: float, whole: float) -> float:
    """The share of a part; nan where the whole is 0.

    >>> ratio(1, 4), ratio(0, 0)
    (0.25, nan)
    """
    return part / whole if whole > 0 else math.nan


def model_writes(name: str, fields: Mapping[str, str | int]) -> list[Write]:
    """Set the fields of the `model` key of this name; those that are "" are removed."""
    key = keys.model_key(name)
    set_fields = [part for pair in fields.items() if pair[1] != "" for part in pair]
    removed_fields = [field for field, value in fields.items() if value == ""]
    writes: list[Write] = [("HSET", key, *set_fields)]
    if removed_fields:
        writes.append(("HDEL", key, *removed_fields))
    return writes
