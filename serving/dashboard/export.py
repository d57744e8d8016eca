"""The members of a segment as CSV, of any size, a slice at a time; but for those who refuse ads.

Members stand in the order in which they entered. Where the next slice begins is known by the last
member and not by its place, so that who enters and leaves meanwhile neither hides nor doubles others.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from serving.consent import may_be_exported
from serving.dashboard.redis_values import text
from state import keys
from state.errors import UserError
from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from state.store import Reads

FIRST, SLICE = 100, 1000
"""Members read at once: few at first, so that the first line is there soon."""
OVERLAP = 100
"""Members read again before a slice, for those that left since."""
PROFILE = (
    "known",
    "first_ms",
    "last_ms",
    "sessions",
    "views",
    "carts",
    "purchases",
    "revenue",
    "currency",
    "top_category",
    "consent",
)
CONSENT = ("refused",)
"""What is read beside, to know whom to leave out."""
HEADER = ("shopper", "entered", *(name.replace("_ms", "_seen") for name in PROFILE))
MARK = b"\xef\xbb\xbf"
"""Tells a spreadsheet that the file is UTF-8; programs read it as `utf-8-sig`."""
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])")
"""Where a cell begins that would be run: `;` and tabs part cells too where people set them so."""

PAUSES_S = (0.2, 1.0)

Member = tuple[int, bytes]
"""When it entered (ms) and who: the order of the members of a ZSET."""
Described = tuple[Member, list[bytes | None]]


async def rows(reads: Reads, sid: str, unasked: str = "allow") -> AsyncIterator[bytes]:
    """CSV, slice by slice; `unasked` as in `may_be_exported`. Raises UserError where Redis fails."""
    yield MARK + _lines([HEADER])
    size = FIRST
    last: Member | None = None
    while slice_ := await _patiently(reads, sid, last, size):
        yield _lines(
            _row(member, profile[: len(PROFILE)])
            for member, profile in slice_
            if may_be_exported(_said(profile), unasked)
        )
        last, size = slice_[-1][0], SLICE


async def _patiently(reads: Reads, sid: str, last: Member | None, size: int) -> list[Described]:
    """The next members and their profiles; a Redis that is away for a moment ends no long export."""
    for pause_s in PAUSES_S:
        try:
            return await _slice(reads, sid, last, size)
        except UserError:
            await asyncio.sleep(pause_s)
    return await _slice(reads, sid, last, size)


async def _slice(reads: Reads, sid: str, last: Member | None, size: int) -> list[Described]:
    members = await _after(reads, sid, last, size)
    profiles = await reads.many(
        ("HMGET", keys.profile_key(text(name)), *PROFILE, *CONSENT) for _, name in members
    )
    return list(zip(members, profiles, strict=True))


async def _after(reads: Reads, sid: str, last: Member | None, size: int) -> list[Member]:
    """The next members after one, who may have left meanwhile."""
    key = keys.members_key(sid)
    place = -1
    if last is not None:
        at_ms, name = last
        score, rank, before = await reads.many(
            [("ZSCORE", key, name), ("ZRANK", key, name), ("ZCOUNT", key, "-inf", f"({at_ms}")]
        )
        still_there = score is not None and float(score) == at_ms
        place = rank if still_there else before
    while True:
        first = max(0, place - OVERLAP)
        flat = await reads.one("ZRANGE", key, first, place + size, "WITHSCORES")
        found = [
            (int(float(score)), name) for name, score in zip(flat[::2], flat[1::2], strict=True)
        ]
        if last is None:
            return found
        ahead = [member for member in found if member > last]
        if found and len(ahead) == len(found) and first > 0:
            place = first  # more of them left than are read again
        elif ahead or not found:
            return ahead
        else:
            place += size  # many entered at the same moment


def _said(profile: Sequence[bytes | None]) -> dict[str, str]:
    named = zip((*PROFILE, *CONSENT), profile, strict=True)
    return {name: text(value) for name, value in named if value is not None}


def _row(member: Member, profile: Sequence[bytes | None]) -> list[str]:
    values = dict(zip(PROFILE, map(text, profile), strict=True))
    seen = [
        _time(value) if name.endswith("_ms") else _harmless(value) for name, value in values.items()
    ]
    return [_harmless(text(member[1])), _time(str(member[0])), *seen]


def _harmless(value: str) -> str:
    """A cell that a spreadsheet does not take for a formula.

    >>> _harmless("=1+1"), _harmless("ann"), _harmless("-0.50"), _harmless("ann;=1+1")
    ("'=1+1", 'ann', "'-0.50", "ann;'=1+1")
    """
    return _FORMULA.sub(r"\1'", printable(value))


def _time(ms: str) -> str:
    """A moment as spreadsheets and programs read it.

    >>> _time("1767225600000"), _time("")
    ('2026-01-01T00:00:00.000Z', '')
    """
    if not ms:
        return ""
    at = datetime.fromtimestamp(int(ms) / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(table: Iterable[Sequence[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows(table)
    return written.getvalue().encode()
