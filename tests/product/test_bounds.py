"""The whole flow with room for few shoppers, into a real Redis: facts are those of one that has room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.publish.digest import deterministic_rows
from state import keys
from state.config import State
from state.store import Store
from tests.flows.recovery.test_crash import SHOP, CrashingSource
from tests.streams import START_MS, content, event, flow_settings, run_flow, view

if TYPE_CHECKING:
    from pathlib import Path

    from state.config import Settings
    from state.events import Event

MINUTE_MS, DAY_MS = 60_000, 86_400_000
HAS_ROOM = flow_settings(batch_events=60)


def few(shoppers_max: int = 8, idle_days: int = 30, **more: Any) -> Settings:
    return flow_settings(
        batch_events=60, state=State(shoppers_max=shoppers_max, idle_days=idle_days), **more
    )


def figures(rows: dict[str, Any]) -> dict[str, int]:
    meta = dict(rows[keys.meta_key()])
    return {name: int(meta[name.encode()]) for name in ("evicted", "returned", "shoppers")}


def rows_put_away(redis_url: str) -> set[str]:
    client = Store(redis_url, timeout_ms=2000, patience_s=2).client
    return {key.decode() for key in client.scan_iter(match="ps:1:*}:row")}


@pytest.mark.parametrize("crashes", [[], [7, 3], [12, 12, 15]])
def test_few_in_memory_come_to_the_same_facts(
    redis_url: str, tmp_path: Path, crashes: list[int]
) -> None:
    whole = run_flow(SHOP, redis_url, tmp_path, settings=HAS_ROOM)
    assert figures(whole)["evicted"] == 0
    assert not rows_put_away(redis_url)
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()
    settings, to_come = few(), list(crashes)
    for _ in range(len(crashes) + 1):
        replay_source(
            CrashingSource(RecordedSource({"shop": lambda: iter(SHOP)}, settings), to_come),
            settings,
            redis_url=redis_url,
            dead_letters=tmp_path / "letters",
            recovery_folder=tmp_path / "recovery" if crashes else None,
        )
    bounded = content(redis_url)
    assert figures(bounded)["evicted"] > 50
    assert figures(bounded)["returned"] > 5
    assert without_stage(bounded) == without_stage(whole)


def without_stage(rows: dict[str, Any]) -> dict[str, Any]:
    """The facts but for the stage: who is put away is in no segment, and so in no stage."""
    return {
        key: [pair for pair in value if pair[0] != b"stage"] if key.endswith("profile") else value
        for key, value in deterministic_rows(rows.items())
    }


def test_a_shopper_put_away_is_not_read_by_another_beginning(
    redis_url: str, tmp_path: Path
) -> None:
    """A replay into a Redis that a former one filled comes to the same."""
    first = run_flow(SHOP, redis_url, tmp_path, settings=few())
    second = run_flow(SHOP, redis_url, tmp_path, settings=few())
    assert dict(deterministic_rows(second.items())) == dict(deterministic_rows(first.items()))


def visits(*of: tuple[int, Event]) -> list[Event]:
    """Events among those of other shoppers, five a minute."""
    crowd = [view(f"other {n}", n * 12_000, f"other {n}") for n in range(1500)]
    return sorted([*crowd, *(one for _, one in of)], key=lambda e: e.event_ts)


def at(minute: int, kind: Any = "item_view", **more: Any) -> tuple[int, Event]:
    return minute, event(kind, f"{kind} {minute}", minute * MINUTE_MS, **more)


def test_an_erased_shopper_who_was_put_away_is_gone_from_redis(
    redis_url: str, tmp_path: Path
) -> None:
    run_flow(visits(at(1)), redis_url, tmp_path, settings=few())
    assert keys.device_row_key("ann") in rows_put_away(redis_url)
    rows = run_flow(visits(at(1), at(290, "erase")), redis_url, tmp_path, settings=few())
    assert figures(rows)["shoppers"] == 1500
    assert keys.device_row_key("ann") not in rows_put_away(redis_url)


def test_a_device_that_was_put_away_becomes_a_user_with_its_past(
    redis_url: str, tmp_path: Path
) -> None:
    stream = visits(at(1), at(290, "identify", user_id="Ann"))
    rows = run_flow(stream, redis_url, tmp_path, settings=few())
    profile = dict(rows[keys.profile_key("Ann")])
    assert profile[b"events"] == b"2"
    assert int(profile[b"first_ms"]) == START_MS + MINUTE_MS


def test_age_alone_puts_shoppers_away(redis_url: str, tmp_path: Path) -> None:
    stream = [view(n, n * DAY_MS // 100, f"ann {n}") for n in range(1000)]
    rows = run_flow(stream, redis_url, tmp_path, settings=few(100_000, idle_days=2))
    assert 700 < figures(rows)["evicted"] < 900
