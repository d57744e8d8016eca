"""The Redis commands of key figures: the last day of a scope, and each of its hours as a whole value."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import orjson

from operators.kpis.hour_sums import DAY_HOURS
from state import keys
from state.kpis import FIGURES
from state.money import MICROS_PER_UNIT, clamp
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operators.kpis.attribution import Key
    from state.kpis import Sums
    from state.messages import Write

HISTORY_HOURS = 400 * DAY_HOURS
"""So many hours stay in Redis."""
_Z_95 = 1.959963984540054
_MONEY = frozenset({"revenue", "gross", "direct_revenue", "assisted_revenue"})


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Where the rate behind `successes` of `trials` lies with a probability of 95 % (Wilson).

    >>> wilson_interval(0, 0)
    (0.0, 1.0)
    >>> [round(bound, 4) for bound in wilson_interval(10, 100)]
    [0.0552, 0.1744]
    """
    if not trials:
        return 0.0, 1.0
    rate, square = successes / trials, _Z_95 * _Z_95 / trials
    centre = rate + square / 2
    half = _Z_95 * sqrt(rate * (1 - rate) / trials + square / trials / 4)
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def fields_of(sums: Sums) -> dict[str, str | int]:
    """The figures of a scope in some hours; money as decimals with six digits.

    `ctr` is lists clicked by lists viewed, with its interval; `aov` is what an order is worth after
    refunds.
    """
    named = dict(zip(FIGURES, sums, strict=True))
    views, clicked, orders = named["views"], named["clicked"], named["orders"]
    low, high = wilson_interval(clicked, views)
    fields: dict[str, str | int] = {
        name: _decimal(amount) if name in _MONEY else amount for name, amount in named.items()
    }
    return {
        **fields,
        "ctr": f"{clicked / max(views, 1):.6f}",
        "ctr_low": f"{low:.6f}",
        "ctr_high": f"{high:.6f}",
        "aov": _decimal(named["revenue"] // max(orders, 1)),
    }


def hour_writes(sums: Mapping[str, Mapping[int, Sums]], changed: Iterable[Key]) -> list[Write]:
    """Hours that changed, each as a whole value."""
    writes: list[Write] = []
    for scope, hour in changed:
        if hour in sums.get(scope, {}):
            text = orjson.dumps(fields_of(sums[scope][hour])).decode()
            writes.append(("HSET", keys.kpi_history_hours_key(scope), hour * HOUR_MS, text))
    return writes


def now_writes(
    sums: Mapping[str, Mapping[int, Sums]], scopes: Iterable[str], now_ms: int
) -> list[Write]:
    """The last 24 hours of scopes, that of `now_ms` included."""
    until = now_ms // HOUR_MS
    writes: list[Write] = []
    for scope in scopes:
        total = [0] * len(FIGURES)
        for hour, amounts in sums.get(scope, {}).items():
            if until - DAY_HOURS < hour <= until:
                total = [clamp(sum(pair)) for pair in zip(total, amounts, strict=True)]
        fields = {**fields_of(total), "at": now_ms}
        parts = (part for pair in fields.items() for part in pair)
        writes.append(("HSET", keys.kpi_now_key(scope), *parts))
    return writes


def expired_writes(scopes: Iterable[str], from_hour: int, until_hour: int) -> list[Write]:
    """Delete the hours that are too old, of which the newest were still there at `from_hour`."""
    first = max(from_hour, until_hour - HISTORY_HOURS)
    hours = [(hour - HISTORY_HOURS) * HOUR_MS for hour in range(first, until_hour)]
    if not hours:
        return []
    return [("HDEL", keys.kpi_history_hours_key(scope), *hours) for scope in scopes]


def _decimal(micros: int) -> str:
    """Millionths as a decimal, exactly.

    >>> _decimal(-1_500_000), _decimal(7)
    ('-1.500000', '0.000007')
    """
    whole, rest = divmod(abs(micros), MICROS_PER_UNIT)
    return f"{'-' * (micros < 0)}{whole}.{rest:06}"
