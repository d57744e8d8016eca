"""What a profile says of the kinds that exclude each other, written whenever that changes.

Whoever is active has the whole profile written. For everybody else these fields alone are, and only
where there is a profile: one that has expired, was merged or erased does not come back by it, and how
long it lives stays as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from state.messages import Write

CLUSTER, DISTANCE, RFM, STAGE = "cluster", "cluster_distance", "rfm", "stage"
CLUSTER_FIELDS = (CLUSTER, DISTANCE)
EXCLUSIVE_KIND_FIELDS = (*CLUSTER_FIELDS, RFM, STAGE)
"""All fields that speak of an exclusive kind."""

# `pcall`: what Redis refuses inside (out of memory, read-only) is answered as it is outside.
_HSET_IF_EXISTS = (
    "if redis.call('EXISTS',KEYS[1])==1 then "
    "return redis.pcall('HSET',KEYS[1],unpack(ARGV)) end return 0"
)


def set_fields(shopper: str, fields: Mapping[str, str]) -> list[Write]:
    """These fields of a profile, if there is one; those that are "" are taken out."""
    key = keys.profile_key(shopper)
    present = [part for pair in fields.items() if pair[1] for part in pair]
    removed = [name for name, value in fields.items() if not value]
    writes: list[Write] = []
    if present:
        writes.append(("EVAL", _HSET_IF_EXISTS, 1, key, *present))
    if removed:
        writes.append(("HDEL", key, *removed))
    return writes


def remove_fields(shopper: str, fields: Iterable[str] = EXCLUSIVE_KIND_FIELDS) -> Write:
    """A shopper who has left all segments: the profile, which expires in its time, names none."""
    return ("HDEL", keys.profile_key(shopper), *fields)
