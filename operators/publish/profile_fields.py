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
OF_CLUSTER = (CLUSTER, DISTANCE)
OF_KINDS = (*OF_CLUSTER, RFM, STAGE)
"""All fields that speak of an exclusive kind."""

# `pcall`: what Redis refuses inside (out of memory, read-only) is answered as it is outside.
_IF_THERE = (
    "if redis.call('EXISTS',KEYS[1])==1 then "
    "return redis.pcall('HSET',KEYS[1],unpack(ARGV)) end return 0"
)


def changed(shopper: str, fields: Mapping[str, str]) -> list[Write]:
    """These fields of a profile, if there is one; those that are "" are taken out."""
    key = keys.profile_key(shopper)
    said = [part for pair in fields.items() if pair[1] for part in pair]
    gone = [name for name, value in fields.items() if not value]
    writes: list[Write] = []
    if said:
        writes.append(("EVAL", _IF_THERE, 1, key, *said))
    if gone:
        writes.append(("HDEL", key, *gone))
    return writes


def forgotten(shopper: str, fields: Iterable[str] = OF_KINDS) -> Write:
    """A shopper who has left all segments: the profile, which expires in its time, names none."""
    return ("HDEL", keys.profile_key(shopper), *fields)
