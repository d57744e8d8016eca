"""What Redis is told of memberships: by each change, and whole where it holds nothing.

The change streams are written first (`Output.first`): whatever Redis holds of a run that was lost can
then be taken back by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys
from state.resp import bulk, command, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from operators.changes import Change
    from state.messages import Write

SEGMENTS_TTL_S = 90 * 86_400

_HSET, _HDEL, _ZADD, _ZREM = map(bulk, ("HSET", "HDEL", "ZADD", "ZREM"))
_EXPIRE, _TTL = bulk("EXPIRE"), number(SEGMENTS_TTL_S)


def changed(changes: Iterable[Change]) -> list[Write]:
    """The writes of shoppers who enter and leave, in order."""
    writes: list[Write] = []
    entered: dict[str, None] = {}
    heads: dict[str, tuple[str, str]] = {}
    for change in changes:
        if change.kind not in ("enter", "leave"):
            continue
        name, sid = change.shopper, change.segment
        head = heads.get(sid)
        if head is None:
            head = heads[sid] = bulk(sid), bulk(keys.members_key(sid))
        field, members = head
        key, member = bulk(keys.segments_key(name)), bulk(name)
        if change.kind == "enter":
            at = number(change.at_ms)
            writes.append(command(f"{_HSET}{key}{field}{at}", 4))
            writes.append(command(f"{_ZADD}{members}{at}{member}", 4))
            entered[key] = None
        else:
            writes.append(command(f"{_HDEL}{key}{field}", 3))
            writes.append(command(f"{_ZREM}{members}{member}", 3))
    writes += [command(f"{_EXPIRE}{key}{_TTL}", 3) for key in entered]
    return writes


def refreshed(shoppers: Iterable[str]) -> list[Write]:
    """Put off when the memberships of shoppers expire."""
    return [command(f"{_EXPIRE}{bulk(keys.segments_key(name))}{_TTL}", 3) for name in shoppers]


def whole(shopper: str, memberships: Sequence[tuple[str, int]]) -> list[Write]:
    """All memberships of a shopper, by segment and time of entering (ms), whatever Redis says."""
    key = keys.segments_key(shopper)
    writes: list[Write] = [("DEL", key)]
    if memberships:
        writes.append(("HSET", key, *(part for one in memberships for part in one)))
        writes.append(("EXPIRE", key, SEGMENTS_TTL_S))
    writes += [("ZADD", keys.members_key(sid), at_ms, shopper) for sid, at_ms in memberships]
    return writes
