"""The profiles of shoppers in Redis: a whole one is put together here and nowhere else.

A shard packs the counters of a profile (`operators.shoppers.profile_hash`), since it runs on every
worker; what segments and models say is typed until here. For shoppers who are not active only changed
fields are written, and only where there is a profile: an expired, merged or erased one is not created
again, and the expiry of a profile stays as it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.segments.kinds import KIND_FIELDS
from operators.segments.propensity.profile_fields import FIELDS, NO_STEP
from state import keys
from state.profile_fields import CLUSTER, DISTANCE, RFM, STAGE
from state.resp import pack_command, pack_str

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from state.entries import ActiveShopper
    from state.messages import Write
    from state.profile_fields import ProfileUpdate

# `pcall`: what Redis refuses inside (out of memory, read-only) is answered as it is outside.
_HSET_IF_EXISTS = (
    "if redis.call('EXISTS',KEYS[1])==1 then "
    "return redis.pcall('HSET',KEYS[1],unpack(ARGV)) end return 0"
)
_HSET = pack_str("HSET")
_SESSION, _BUYS, _CHURN, _VALUE = (field.packed for field in FIELDS)


class Profile(NamedTuple):
    """One whole profile.

    `counters` is the command with the shopper's own fields, packed but for its head, of so many
    arguments. `predictions` are steps, in the order of `FIELDS`. `distance` is that to the centre of
    the cluster, None where it is not known. "" and 0 stand for no value.
    """

    counters: str
    argument_count: int
    predictions: Sequence[int] = (NO_STEP,) * len(FIELDS)
    cluster: str = ""
    distance: float | None = None
    rfm: int = 0
    stage: str = ""


def profile_write(profile: Profile) -> Write:
    """The command that writes a profile."""
    counters, count, predictions, cluster, distance, rfm, stage = profile
    session, buys, churn, value = predictions
    suffix, more = _packed_rfm_and_stage(rfm, stage)
    count += more + 2 * (len(FIELDS) - predictions.count(NO_STEP))
    # A step of -1 is the last text of a field, which is empty.
    text = f"{counters}{_SESSION[session]}{_BUYS[buys]}{_CHURN[churn]}{_VALUE[value]}"
    if not cluster:
        return pack_command(text + suffix, count)
    if distance is None:
        return pack_command(f"{text}{_packed_cluster(cluster)}{suffix}", count + 2)
    to_centre = pack_str(f"{distance:.3f}")
    return pack_command(
        f"{text}{_packed_cluster(cluster)}{_DISTANCE}{to_centre}{suffix}", count + 4
    )


def add_changes(active: ActiveShopper, newer: ActiveShopper) -> ActiveShopper:
    """The newer entry of a shopper, with the fields that the one before it writes too."""
    head = len(_HSET) + len(pack_str(keys.profile_key(newer.shopper)))
    return replace(
        newer,
        profile=active.profile + newer.profile[head:],
        argument_count=active.argument_count + newer.argument_count - 2,
        is_whole=active.is_whole,
    )


@lru_cache(4096)
def _packed_cluster(cluster: str) -> str:
    return pack_str(CLUSTER) + pack_str(cluster)


@lru_cache(4096)
def _packed_rfm_and_stage(rfm: int, stage: str) -> tuple[str, int]:
    fields = {RFM: str(rfm) if rfm else "", STAGE: stage}
    present = [part for pair in fields.items() if pair[1] for part in pair]
    return "".join(map(pack_str, present)), len(present)


_DISTANCE = pack_str(DISTANCE)


def update_writes(updates: Iterable[ProfileUpdate]) -> list[Write]:
    """Return the commands of some updates, in their order."""
    return [write for shopper, fields in updates for write in set_fields(shopper, fields)]


def set_fields(shopper: str, fields: Mapping[str, str]) -> list[Write]:
    """Set fields of a profile, if there is one; a field that is "" is removed."""
    present = [part for pair in fields.items() if pair[1] for part in pair]
    removed = [name for name, value in fields.items() if not value]
    writes: list[Write] = []
    if present:
        writes.append(("EVAL", _HSET_IF_EXISTS, 1, keys.profile_key(shopper), *present))
    if removed:
        writes.append(remove_fields(shopper, removed))
    return writes


def remove_fields(shopper: str, fields: Iterable[str]) -> Write:
    """Remove fields of a profile."""
    return ("HDEL", keys.profile_key(shopper), *fields)


def remove_segment_fields(shopper: str) -> Write:
    """Remove the fields of all kinds of segment from the profile of a shopper who left them all."""
    return remove_fields(shopper, KIND_FIELDS)
