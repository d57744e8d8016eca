"""Memberships in Redis: the segments of a shopper and the members of a segment. The one writer of both.

They are written by their changes, and whole when Redis is rebuilt. The change streams are written
before them (`BatchOutput.changes`): a run that takes over from a crashed one undoes by the streams
what Redis holds of memberships that are not true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys
from state.resp import pack_command, pack_int, pack_str

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from state.changes import Change
    from state.messages import Write

SEGMENTS_TTL_S = 90 * 86_400
MEMBERS_PER_COMMAND = 512

_HSET, _HDEL, _ZADD, _ZREM = map(pack_str, ("HSET", "HDEL", "ZADD", "ZREM"))
_EXPIRE, _TTL = pack_str("EXPIRE"), pack_int(SEGMENTS_TTL_S)


def membership_writes(changes: Iterable[Change]) -> list[Write]:
    """The commands of shoppers who enter and leave segments: of each membership the last change.

    One command a shopper and a segment, not one a change: Redis and the sender pay for commands.
    """
    last_change = {
        (change.segment, change.shopper): change
        for change in changes
        if change.kind in ("enter", "leave")
    }
    of_shopper: dict[str, tuple[list[str], list[str]]] = {}
    of_segment: dict[str, tuple[list[str], list[str]]] = {}
    fields: dict[str, str] = {}
    for (sid, name), change in last_change.items():
        entered, left = of_shopper.get(name) or of_shopper.setdefault(name, ([], []))
        entries, leavers = of_segment.get(sid) or of_segment.setdefault(sid, ([], []))
        field = fields.get(sid) or fields.setdefault(sid, pack_str(sid))
        if change.kind == "enter":
            at = pack_int(change.at_ms)
            entered.append(field + at)
            entries.append(at + pack_str(name))
        else:
            left.append(field)
            leavers.append(pack_str(name))
    writes: list[Write] = []
    for name, (entered, left) in of_shopper.items():
        key = pack_str(keys.segments_key(name))
        if left:
            writes.append(pack_command(f"{_HDEL}{key}{''.join(left)}", 2 + len(left)))
        if entered:
            writes.append(pack_command(f"{_HSET}{key}{''.join(entered)}", 2 + 2 * len(entered)))
            writes.append(pack_command(f"{_EXPIRE}{key}{_TTL}", 3))
    for sid, (entries, leavers) in of_segment.items():
        key = pack_str(keys.members_key(sid))
        writes += [
            pack_command(f"{_ZREM}{key}{''.join(chunk)}", 2 + len(chunk))
            for chunk in _chunks(leavers)
        ]
        writes += [
            pack_command(f"{_ZADD}{key}{''.join(chunk)}", 2 + 2 * len(chunk))
            for chunk in _chunks(entries)
        ]
    return writes


def _chunks(members: list[str]) -> Iterator[list[str]]:
    """Members in chunks: Redis answers other clients between two commands."""
    for start in range(0, len(members), MEMBERS_PER_COMMAND):
        yield members[start : start + MEMBERS_PER_COMMAND]


def refresh_expiry(shoppers: Iterable[str]) -> list[Write]:
    """Start the time to live of shoppers' memberships again."""
    return [
        pack_command(f"{_EXPIRE}{pack_str(keys.segments_key(name))}{_TTL}", 3) for name in shoppers
    ]


def full_membership_writes(shopper: str, memberships: Sequence[tuple[str, int]]) -> list[Write]:
    """Write all memberships of a shopper (segment, entered ms), whatever Redis holds."""
    key = keys.segments_key(shopper)
    writes: list[Write] = [("DEL", key)]
    if memberships:
        writes.append(("HSET", key, *(part for membership in memberships for part in membership)))
        writes.append(("EXPIRE", key, SEGMENTS_TTL_S))
    writes += [("ZADD", keys.members_key(sid), at_ms, shopper) for sid, at_ms in memberships]
    return writes


def delete_members(segment: str) -> Write:
    """Delete the members of a segment."""
    return ("DEL", keys.members_key(segment))


def delete_memberships(shopper: str) -> Write:
    """Delete the memberships of a shopper."""
    return ("DEL", keys.segments_key(shopper))
