"""Reduces the content of Redis to facts: sessions, profiles, counters and identities.

Facts depend on the events alone. What is learned (clusters, RFM, chances, lists, models) depends also
on how events were cut into batches, and is left out here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.segments.propensity import profile_fields
from state.messages import ShardTotals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MODEL_FIELDS = frozenset(
    {b"cluster", b"cluster_distance", b"rfm"}
    | {name.encode() for name in (profile_fields.SESSION, *profile_fields.WEEKLY_MODELS)}
)
# Whether a device had been seen before it was identified depends on what came first; who is in
# memory, and who in Redis, on how much there is of it.
_DETERMINISTIC_COUNTERS = frozenset(
    name.encode()
    for name in (*ShardTotals.__struct_fields__, "events", "rejected", "by_type", "unconverted")
    if name not in ("merges", "evicted", "returned", "failed")
)


def deterministic_rows(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The keys and values of Redis, reduced to the facts in them."""
    for key, value in rows:
        if key.startswith("ps:1:shopper:") and key.endswith("}:profile"):
            yield key, [pair for pair in value if pair[0] not in _MODEL_FIELDS]
        elif key.startswith("ps:1:alias:") or key.endswith("}:session"):
            yield key, value
        elif key == "ps:1:meta":
            yield key, [pair for pair in value if pair[0] in _DETERMINISTIC_COUNTERS]
