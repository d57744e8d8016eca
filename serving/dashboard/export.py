"""Writes the members of a segment of any size as CSV, page by page, without those who refuse ads.

Members come in the order in which they entered. The next page starts after the last member and not
at an offset, so that shoppers who enter or leave meanwhile neither hide nor repeat others.
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
from state.errors import StoreError
from state.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from state.store import AsyncReader

FIRST_PAGE, PAGE = 100, 1000
"""Members in a page: few in the first one, so that the first line comes soon."""
OVERLAP = 100
"""Members read again before each page, to find the last member after others have left."""
CSV_FIELDS = (
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
CONSENT_ONLY_FIELDS = ("refused",)
"""Fields that are read only to decide who is left out."""
HEADER = ("shopper", "entered", *(name.replace("_ms", "_seen") for name in CSV_FIELDS))
UTF8_BOM = b"\xef\xbb\xbf"
"""Byte order mark: spreadsheets need it to recognise UTF-8; programs read the file as `utf-8-sig`."""
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=[=+\-@\t\r\uff1d\uff0b\uff0d\uff20])")
"""The start of a cell that a spreadsheet would run; `;` and tabs may separate cells too."""

PAUSES_S = (0.2, 1.0)

Member = tuple[int, bytes]
"""Time of entry (ms) and shopper: the order of the members of a ZSET."""
MemberProfile = tuple[Member, list[bytes | None]]


async def csv_rows(
    reader: AsyncReader, sid: str, consent_default: str = "allow"
) -> AsyncIterator[bytes]:
    """Yield CSV, page by page; `consent_default` as in `may_be_exported`. Raises StoreError."""
    yield UTF8_BOM + _lines([HEADER])
    size = FIRST_PAGE
    last: Member | None = None
    while page := await _with_retries(reader, sid, last, size):
        yield _lines(
            _row(member, profile[: len(CSV_FIELDS)])
            for member, profile in page
            if may_be_exported(_profile_fields(profile), consent_default)
        )
        last, size = page[-1][0], PAGE


async def _with_retries(
    reader: AsyncReader, sid: str, last: Member | None, size: int
) -> list[MemberProfile]:
    """Read the next page; retried, so that a short outage of Redis does not end a long export."""
    for pause_s in PAUSES_S:
        try:
            return await _read_page(reader, sid, last, size)
        except StoreError:
            await asyncio.sleep(pause_s)
    return await _read_page(reader, sid, last, size)


async def _read_page(
    reader: AsyncReader, sid: str, last: Member | None, size: int
) -> list[MemberProfile]:
    members = await _members_after(reader, sid, last, size)
    profiles = await reader.read_many(
        ("HMGET", keys.profile_key(text(name)), *CSV_FIELDS, *CONSENT_ONLY_FIELDS)
        for _, name in members
    )
    return list(zip(members, profiles, strict=True))


async def _members_after(
    reader: AsyncReader, sid: str, last: Member | None, size: int
) -> list[Member]:
    """Return the members after `last`, who may have left meanwhile."""
    key = keys.members_key(sid)
    start_rank = -1
    if last is not None:
        at_ms, name = last
        score, rank, entered_before = await reader.read_many(
            [("ZSCORE", key, name), ("ZRANK", key, name), ("ZCOUNT", key, "-inf", f"({at_ms}")]
        )
        is_member = score is not None and float(score) == at_ms
        start_rank = rank if is_member else entered_before
    while True:
        first = max(0, start_rank - OVERLAP)
        flat = await reader.read_one("ZRANGE", key, first, start_rank + size, "WITHSCORES")
        members = [
            (int(float(score)), name) for name, score in zip(flat[::2], flat[1::2], strict=True)
        ]
        if last is None:
            return members
        ahead = [member for member in members if member > last]
        if members and len(ahead) == len(members) and first > 0:
            start_rank = first  # more members left than OVERLAP
        elif ahead or not members:
            return ahead
        else:
            start_rank += size  # many members entered in the same millisecond


def _profile_fields(profile: Sequence[bytes | None]) -> dict[str, str]:
    fields = zip((*CSV_FIELDS, *CONSENT_ONLY_FIELDS), profile, strict=True)
    return {name: text(value) for name, value in fields if value is not None}


def _row(member: Member, profile: Sequence[bytes | None]) -> list[str]:
    cells = dict(zip(CSV_FIELDS, map(text, profile), strict=True))
    profile_cells = [
        _time(value) if name.endswith("_ms") else _escape_formula(value)
        for name, value in cells.items()
    ]
    return [_escape_formula(text(member[1])), _time(str(member[0])), *profile_cells]


def _escape_formula(value: str) -> str:
    """Return a cell that a spreadsheet does not run as a formula.

    >>> [_escape_formula(text) for text in ("=1+1", "ann", "-0.50", "ann;=1+1")]
    ["'=1+1", 'ann', "'-0.50", "ann;'=1+1"]
    """
    return _FORMULA.sub(r"\1'", printable(value))


def _time(ms: str) -> str:
    """Return a time (ms) in ISO 8601, "" for no time.

    >>> _time("1767225600000"), _time("")
    ('2026-01-01T00:00:00.000Z', '')
    """
    if not ms:
        return ""
    at = datetime.fromtimestamp(int(ms) / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(table: Iterable[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(table)
    return buffer.getvalue().encode()
