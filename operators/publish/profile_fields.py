"""Commands that change single fields of the profiles of inactive shoppers.

The profile of an active shopper is written whole. For inactive shoppers only the changed fields are
written, and only where there is a profile: an expired, merged or erased profile is not created again,
and the expiry of a profile stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.kinds import KIND_FIELDS
from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from state.messages import Write
    from state.profile_fields import ProfileUpdate

# `pcall`: what Redis refuses inside (out of memory, read-only) is answered as it is outside.
_HSET_IF_EXISTS = (
    "if redis.call('EXISTS',KEYS[1])==1 then "
    "return redis.pcall('HSET',KEYS[1],unpack(ARGV)) end return 0"
)


def update_writes(updates: Iterable[ProfileUpdate]) -> list[Write]:
    """Return the commands of some updates, in their order."""
    return [write for shopper, fields in updates for write in set_fields(shopper, fields)]


def set_fields(shopper: str, fields: Mapping[str, str]) -> list[Write]:
    """Set fields of a profile, if there is one; a field that is "" is removed."""
    key = keys.profile_key(shopper)
    present = [part for pair in fields.items() if pair[1] for part in pair]
    removed = [name for name, value in fields.items() if not value]
    writes: list[Write] = []
    if present:
        writes.append(("EVAL", _HSET_IF_EXISTS, 1, key, *present))
    if removed:
        writes.append(("HDEL", key, *removed))
    return writes


def remove_segment_fields(shopper: str) -> Write:
    """Remove the fields of all kinds of segment from the profile of a shopper who left them all."""
    return ("HDEL", keys.profile_key(shopper), *KIND_FIELDS)
