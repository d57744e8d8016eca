"""What Redis is told of memberships: by each change, and whole where it holds nothing.

The change streams are written first (`Output.first`): whatever Redis holds of a run that was lost can
then be taken back by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys
from state.resp import bulk, command, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from operators.segments.changes import Change
    from state.messages import Write

SEGMENTS_TTL_S = 90 * 86_400
MEMBERS_A_COMMAND = 512

_HSET, _HDEL, _ZADD, _ZREM = map(bulk, ("HSET", "HDEL", "ZADD", "ZREM"))
_EXPIRE, _TTL = bulk("EXPIRE"), number(SEGMENTS_TTL_S)


def changed(changes: Iterable[Change]) -> list[Write]:
    """The writes of shoppers who enter and leave: of each membership what was last.

    One command a shopper and a segment, not one a change: Redis and the sender pay for commands.
    """
    last = {
        (change.segment, change.shopper): change
        for change in changes
        if change.kind in ("enter", "leave")
    }
    of_shopper: dict[str, tuple[list[str], list[str]]] = {}
    of_segment: dict[str, tuple[list[str], list[str]]] = {}
    fields: dict[str, str] = {}
    for (sid, name), change in last.items():
        entered, left = of_shopper.get(name) or of_shopper.setdefault(name, ([], []))
        joined, parted = of_segment.get(sid) or of_segment.setdefault(sid, ([], []))
        field = fields.get(sid) or fields.setdefault(sid, bulk(sid))
        if change.kind == "enter":
            at = number(change.at_ms)
            entered.append(field + at)
            joined.append(at + bulk(name))
        else:
            left.append(field)
            parted.append(bulk(name))
    writes: list[Write] = []
    for name, (entered, left) in of_shopper.items():
        key = bulk(keys.segments_key(name))
        if left:
            writes.append(command(f"{_HDEL}{key}{''.join(left)}", 2 + len(left)))
        if entered:
            writes.append(command(f"{_HSET}{key}{''.join(entered)}", 2 + 2 * len(entered)))
            writes.append(command(f"{_EXPIRE}{key}{_TTL}", 3))
    for sid, (joined, parted) in of_segment.items():
        key = bulk(keys.members_key(sid))
        writes += [
            command(f"{_ZREM}{key}{''.join(some)}", 2 + len(some)) for some in _split(parted)
        ]
        writes += [
            command(f"{_ZADD}{key}{''.join(some)}", 2 + 2 * len(some)) for some in _split(joined)
        ]
    return writes


def _split(members: list[str]) -> Iterator[list[str]]:
    """So many at a time that Redis answers others meanwhile."""
    for at in range(0, len(members), MEMBERS_A_COMMAND):
        yield members[at : at + MEMBERS_A_COMMAND]


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
