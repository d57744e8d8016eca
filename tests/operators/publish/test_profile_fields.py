"""One truth: profile, segments hash, members and definition say the same of whoever there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from operators.publish import profiles
from operators.segments.rfm import name_of
from operators.synthetic.traffic import generate_events
from state import keys
from state.config import Clusters, Lifecycle, Propensity, State
from state.segments import lifecycle_segment_id, rfm_segment_id
from state.store import Store
from state.times import DAY_MS
from tests.learned import retail
from tests.streams import event, flow_settings, run_flow

if TYPE_CHECKING:
    from pathlib import Path

    from state.config import Settings
    from state.events import Event

KINDS = {"cluster-": "cluster", "rfm-": "rfm", "lifecycle-": "stage"}


def long_log() -> list[Event]:
    """A year of which most shoppers see some weeks: they sink, are lost, and some come back."""
    events = [*generate_events(events=2500, shoppers=160, items=30, events_per_s=0.00008)]
    assert events[-1].event_ts - events[0].event_ts > 300 * DAY_MS
    return events


def told(store: Store) -> dict[str, dict[str, str]]:
    """By shopper and kind: the segment that profile, hash and members each name, "" for none."""
    client, found = store.client, {}
    members: dict[str, set[str]] = {}
    for sid in client.hkeys(keys.registry_key()):
        for who in client.zrange(keys.members_key(sid.decode()), 0, -1):
            members.setdefault(who.decode(), set()).add(sid.decode())
    profiles = of_shoppers(store, "profile")
    hashes = of_shoppers(store, "segments")
    for who in members.keys() | profiles.keys() | hashes.keys():
        profile = profiles.get(who, {})
        named = {
            "cluster-": profile.get("cluster", ""),
            "rfm-": rfm_segment_id(name_of(int(profile["rfm"]))) if "rfm" in profile else "",
            "lifecycle-": lifecycle_segment_id(profile["stage"]) if "stage" in profile else "",
        }
        for kind in KINDS:
            found[f"{who} {kind}"] = {
                "profile": named[kind],
                "hash": "".join(sid for sid in hashes.get(who, {}) if sid.startswith(kind)),
                "members": "".join(s for s in members.get(who, ()) if s.startswith(kind)),
            }
    return found


def of_shoppers(store: Store, what: str) -> dict[str, dict[str, str]]:
    found = {}
    for key in store.client.scan_iter(f"ps:1:shopper:*:{what}"):
        who = key.decode().partition("{")[2].partition("}")[0].replace("%3A", ":")
        hash_ = store.client.hgetall(key)
        found[who] = {name.decode(): value.decode() for name, value in hash_.items()}
    return found


def assert_one_truth(url: str) -> dict[str, dict[str, str]]:
    store = Store(url, timeout_ms=2000, patience_s=2)
    found = told(store)
    assert {who: one for who, one in found.items() if len({*one.values()}) > 1} == {}
    lives = [store.client.ttl(key) for key in store.client.scan_iter("ps:1:shopper:*:profile")]
    assert lives
    assert min(lives) > 0, "a profile without a lifetime"
    store.close()
    return found


def chosen(**more: object) -> Settings:
    return msgspec.structs.replace(
        flow_settings(batch_events=100, **more),
        clusters=Clusters(k=(2, 6), half_life_points=400),
        propensity=Propensity(horizon_days=5, churn_days=5, labels_min=10),
    )


@pytest.mark.parametrize("batch", [32, 2048])
def test_whoever_sinks_without_an_event_does_so_in_the_profile_too(
    redis_url: str, tmp_path: Path, batch: int
) -> None:
    settings = msgspec.structs.replace(chosen(), source=flow_settings(batch_events=batch).source)
    run_flow(long_log(), redis_url, tmp_path, settings=settings)
    found = assert_one_truth(redis_url)
    named = {one["profile"] for one in found.values()}
    assert {"lifecycle-lost", "lifecycle-dormant", "rfm-lost"} <= named


def test_whoever_is_put_away_is_named_by_no_profile(redis_url: str, tmp_path: Path) -> None:
    small = State(shoppers_max=64, idle_days=20, known_idle_days=60)
    settings = chosen(state=small, lifecycle=Lifecycle(dormant_days=10, lost_days=30))
    run_flow(long_log(), redis_url, tmp_path, settings=settings)
    found = assert_one_truth(redis_url)
    assert sum(not any(one.values()) for one in found.values()) > 100


@pytest.mark.slow
def test_online_retail(redis_url: str, tmp_path: Path) -> None:
    run_flow(retail(20_000), redis_url, tmp_path, settings=chosen())
    assert_one_truth(redis_url)


def test_no_profile_comes_back_by_a_field(redis_url: str) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    there, gone = keys.profile_key("ann"), keys.profile_key("bob")
    store.send([("HSET", there, "stage", "new", "rfm", "111"), ("EXPIRE", there, 1000)])
    for who in ("ann", "bob"):
        store.send(profiles.set_fields(who, {"stage": "lost", "rfm": ""}))
    store.flush()
    assert store.client.hgetall(there) == {b"stage": b"lost"}
    assert 0 < store.client.ttl(there) <= 1000
    assert not store.client.exists(gone)
    store.close()


def test_nothing_of_who_was_erased_or_merged_comes_back(redis_url: str, tmp_path: Path) -> None:
    """Days later the others sink; of these two nothing is written any more."""
    day = DAY_MS
    events = [
        event("item_view", 1, 0, "dev", items=()),
        event("item_view", 2, 1, "err", items=()),
        event("identify", 3, 10, "dev", "u"),
        event("erase", 4, 20, "err"),
        *(event("page_view", f"p{n}", n * day, f"x{n}") for n in range(1, 120)),
    ]
    run_flow(events, redis_url, tmp_path, settings=chosen())
    assert_one_truth(redis_url)
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    assert [*store.client.scan_iter("ps:1:shopper:*{dev}*")] == []
    assert [*store.client.scan_iter("ps:1:shopper:*{err}*")] == []
    store.close()
