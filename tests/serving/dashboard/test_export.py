"""The export: every member once, also if others enter and leave, and no cell is a formula."""

from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING, Any

import pytest

from serving.dashboard import export
from serving.segments import SegmentReader
from state import keys
from state.store import AsyncReader, Store
from tests.pages import Answer, in_loop, served

if TYPE_CHECKING:
    from collections.abc import Callable

SID = "rule 1"


def exported(
    redis_url: str, between: Callable[[int], None] = lambda _: None, *, unasked: str = "allow"
) -> list[list[str]]:
    """The rows without the header; `between` is called after each slice."""

    async def read() -> bytes:
        reads = AsyncReader(redis_url, timeout_ms=2000)
        parts = []
        async for part in export.csv_rows(reads, SID, unasked):
            parts.append(part)
            between(len(parts))
        await reads.close()
        return b"".join(parts)

    header, *rows = csv.reader(io.StringIO(in_loop(read()).decode("utf-8-sig")))
    assert header == list(export.HEADER)
    return rows


@pytest.fixture
def members(redis_url: str) -> Any:
    """A client, and 5,000 members, many of whom entered at the same moment."""
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    client.zadd(keys.members_key(SID), {f"s{n:05}": 1000 + n // 2000 for n in range(5000)})
    return client


@pytest.mark.usefixtures("members")
def test_members_are_in_the_order_in_which_they_entered(redis_url: str) -> None:
    assert [row[0] for row in exported(redis_url)] == [f"s{n:05}" for n in range(5000)]


def test_entries_and_exits_during_an_export_neither_hide_nor_repeat_others(
    redis_url: str, members: Any
) -> None:
    dice, touched = random.Random(3), set[str]()
    key = keys.members_key(SID)

    def churn(_: int) -> None:
        newest = [name.decode() for name in members.zrange(key, 0, -1)]
        for name in dice.sample(newest, 300):
            members.zrem(key, name)
            touched.add(name)
        for name in dice.sample(sorted(touched), 50):
            members.zadd(key, {name: 1000 + dice.randrange(5)})

    names = [row[0] for row in exported(redis_url, churn)]
    untouched = [f"s{n:05}" for n in range(5000) if f"s{n:05}" not in touched]
    assert [name for name in names if name not in touched] == untouched
    assert len(untouched) > 2000


def test_the_last_member_of_a_page_and_its_neighbours_may_leave(
    redis_url: str, members: Any
) -> None:
    def leave(slices: int) -> None:
        if slices == 2:  # the header is the first
            members.zremrangebyrank(keys.members_key(SID), 0, 699)

    names = [row[0] for row in exported(redis_url, leave)]
    assert names[:100] + names[100:] == [f"s{n:05}" for n in (*range(100), *range(700, 5000))]


def test_a_cell_is_no_formula_and_strange_ids_stay_distinct(redis_url: str) -> None:
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    names = ["=HYPERLINK(1)", "+1", "@x", "a;=1+1", 'a "b",c', "né {w}:50% 🛒", "two\nlines"]
    client.zadd(keys.members_key(SID), {name: n for n, name in enumerate(names)})
    client.hset(keys.profile_key("+1"), mapping={"revenue": "12.50", "last_ms": 1767225600000})
    rows = exported(redis_url)
    escaped = ["'=HYPERLINK(1)", "'+1", "'@x", "a;'=1+1", *names[4:6], "two\\u000alines"]
    assert [row[0] for row in rows] == escaped
    found = dict(zip(export.HEADER, rows[1], strict=True))
    assert (found["revenue"], found["last_seen"]) == ("12.50", "2026-01-01T00:00:00.000Z")


def test_the_download_has_a_safe_file_name(redis_url: str, members: Any) -> None:
    members.hset(keys.registry_key(), SID, "{}")
    with served(redis_url) as url:
        answer = Answer(url, "/api/export?segment=rule%201")
        assert answer.headers["content-disposition"] == 'attachment; filename="rule-1.csv"'
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.text.count("\r\n") == 5001
        assert answer.body.startswith(b"\xef\xbb\xbfshopper,")
        nobody = Answer(url, "/api/export?segment=nobody")
        assert (nobody.status, nobody.text) == (404, "there is no segment 'nobody'\n")


def test_shoppers_who_refuse_ads_are_left_out(redis_url: str) -> None:
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    profiles = {
        "agreed": {"last_ms": 1, "consent": "analytics=1,personalization=1,ads=1"},
        "refused": {
            "last_ms": 1,
            "refused": "ads",
            "consent": "analytics=1,personalization=1,ads=0",
        },
        "former": {"last_ms": 1, "consent": "analytics=?,personalization=?,ads=0"},
        "denied": {"last_ms": 1, "refused": "personalization,ads"},
        "partly": {"last_ms": 1, "refused": "personalization"},
    }
    for name, fields in profiles.items():
        client.hset(keys.profile_key(name), mapping=fields)
    client.zadd(keys.members_key(SID), {name: n for n, name in enumerate([*profiles, "gone"])})
    assert [row[0] for row in exported(redis_url)] == ["agreed", "partly", "gone"]
    assert [row[0] for row in exported(redis_url, unasked="deny")] == ["agreed", "partly"]
    segments = SegmentReader(Store(redis_url, timeout_ms=2000, patience_s=0))
    named = [name for name, _ in segments.exportable_members(SID, 9, "deny")]
    assert sorted(named) == ["agreed", "partly"]
