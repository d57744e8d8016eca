"""Retired segments: each member leaves once, and the keys are deleted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson
import pytest

from operators.models import dbstream
from operators.personalize.rebuild import shared_writes
from operators.publish import memberships
from operators.segments import retirement
from state import keys
from state.config_loader import load
from state.entries import Transition
from tests.learned import batches
from tests.operators.publish.test_memberships import Telling, connect
from tests.streams import SHARDS

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path

    from state.config import Settings
    from state.messages import Write
    from state.store import Store

BASE = (f"sessions.shards={SHARDS}", "lists.figures_every_ms=60000", "propensity.labels_min=5")
OFF = ("rfm.enabled=false", "lifecycle.enabled=false", "propensity.horizon_days=0")
KINDS = ("rfm-", "lifecycle-", "propensity-")


def settings(*more: str) -> Settings:
    return load(environment={}, overrides=(*BASE, *more))


def keys_of(store: Store, sid: str) -> set[str]:
    """The keys of a segment, by their last part."""
    start = keys.members_key(sid).removesuffix("members")
    return {
        key.decode().removeprefix(start)
        for key in store.client.scan_iter(f"{start.replace('{', '[{]')}*")
    }


def registered(store: Store) -> dict[str, str]:
    """The status of each segment in the registry."""
    found = store.client.hgetall(keys.registry_key())
    return {sid.decode(): orjson.loads(one)["status"] for sid, one in found.items()}


def changes(store: Store) -> Counter[tuple[str, str, str]]:
    """The number of entries and exits of each shopper and segment."""
    found: Counter[tuple[str, str, str]] = Counter()
    for stream in range(keys.CHANGE_STREAMS):
        for _, said in store.client.xrange(keys.change_stream_key(stream)):
            found[said[b"kind"].decode(), said[b"shopper"].decode(), said[b"segment"].decode()] += 1
    return found


RIVERS = "clusters.estimator=river.cluster.KMeans(n_clusters=4, halflife=0.05)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("clusters.algorithm=kmeans", "clusters.algorithm=dbstream", "DBSTREAM"),
        ("clusters.algorithm=kmeans", RIVERS, RIVERS.partition("=")[2]),
        (RIVERS, "clusters.algorithm=kmeans", "mini-batch k-means"),
    ],
)
def test_another_algorithm_starts_from_empty_under_new_ids(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, before: str, after: str, name: str
) -> None:
    monkeypatch.setattr(dbstream, "START_POINTS", 256)
    store = connect(redis_url)
    first = Telling(store, settings=settings(before)).learn(batches(6000)[:25])
    known = {sid for sid in first.known() if sid.startswith("cluster-")}
    other = Telling(store, first.learning.snapshot(), settings(after))
    other.learn(batches(6000)[25:])
    now = {sid for sid, one in other.known().items() if sid.startswith("cluster-") and one}
    assert other.said() == other.said_of_shoppers() == other.known()
    assert known
    assert now
    assert not known & now
    assert min(int(sid[8:]) for sid in now) > max(int(sid[8:]) for sid in known)
    assert {sid for sid in known if registered(store)[sid] == "live"} == set()
    assert store.client.hget(keys.model_key("clusters"), "algorithm") == name.encode()
    store.close()


def test_kinds_turned_off_leave_nothing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "MEMBERS_PER_BATCH", 100)
    store = connect(redis_url)
    before = Telling(store, settings=settings()).learn(batches()[:12])
    known = before.known()
    gone = [sid for sid in known if sid.startswith(KINDS)]
    assert {sid.partition("-")[0] + "-" for sid in gone if known[sid]} >= {"rfm-", "lifecycle-"}
    told = changes(store)
    after = Telling(store, before.learning.snapshot(), settings(*OFF)).learn(batches()[12:])
    assert after.said() == after.said_of_shoppers() == after.known()
    left = changes(store) - told
    for sid in gone:
        assert keys_of(store, sid) <= {"definition", "history", "history:hours"}
        assert registered(store).get(sid, "retired") == "retired"
        for shopper in known[sid]:
            assert left["leave", shopper, sid] == 1
    overlaps = [store.client.hgetall(key) for key in store.client.scan_iter("*:overlap")]
    assert [sid for one in overlaps for sid in map(bytes.decode, one) if sid in gone] == []
    for key in store.client.scan_iter("ps:1:shopper:*:profile"):
        assert not {b"rfm", b"stage", b"p_buy_30d"} & {*store.client.hgetall(key)}
    store.close()


def test_what_was_done_before_a_part_raises_is_published(
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    processing_errors: list[logging.LogRecord],
) -> None:
    close, calls = retirement.SegmentRetirement._close, Counter[str]()

    def close_at_the_second_try(
        self: retirement.SegmentRetirement, sid: str, reporting_time_ms: int
    ) -> Iterator[Write]:
        calls[sid] += 1
        if calls[sid] == 1:
            raise IndexError(sid)
        return close(self, sid, reporting_time_ms)

    monkeypatch.setattr(retirement.SegmentRetirement, "_close", close_at_the_second_try)
    store = connect(redis_url)
    before = Telling(store, settings=settings()).learn(batches()[:8])
    gone = [sid for sid in before.known() if sid.startswith("rfm-")]
    off = settings("rfm.enabled=false")
    after = Telling(store, before.learning.snapshot(), off).learn(batches()[8:20])
    assert sum(calls.values()) == 2 * len(calls) > 2
    assert after.said() == after.said_of_shoppers() == after.known()
    assert {sid: registered(store)[sid] for sid in gone} == dict.fromkeys(gone, "retired")
    processing_errors.clear()
    store.close()


def test_a_removed_rule_leaves_nothing_even_if_its_shoppers_stay_inactive(
    redis_url: str, tmp_path: Path
) -> None:
    store = connect(redis_url)
    draft = tmp_path / "one.yaml"
    draft.write_text("keen:\n  name: Keen\n  when: views >= 3\n")
    first = Telling(store, settings=settings(f"segments.file={draft}")).learn(batches()[:6])
    learned = first.learning.state
    some = [
        name for name in learned.recommender.shoppers.ids if learned.memberships.memberships_of(0)
    ][:30]
    entered = [Transition(name, "keen", True, learned.clock.newest_event_ms) for name in some]
    changed = learned.memberships.apply_transitions(entered, learned.recommender.shoppers)
    store.send(memberships.membership_writes(changed))
    first.learn(batches()[6:8])
    keen = first.said()["keen"].keys()
    assert keen <= {*some}
    assert len(keen) > 20
    assert "stats" in keys_of(store, "keen")
    draft.write_text("other:\n  name: Other\n  when: views >= 5\n")
    changed_rules = settings(f"segments.file={draft}")
    after = Telling(store, first.learning.snapshot(), changed_rules).learn(batches()[8:])
    assert after.said() == after.said_of_shoppers() == after.known()
    assert keys_of(store, "keen") <= {"definition", "versions", "history", "history:hours"}
    assert registered(store)["keen"] == "retired"
    store.close()


def test_a_kind_turned_on_again_starts_from_empty(redis_url: str) -> None:
    store = connect(redis_url)
    first = Telling(store, settings=settings()).learn(batches()[:8])
    off = Telling(store, first.learning.snapshot(), settings(*OFF)).learn(batches()[8:14])
    again = Telling(store, off.learning.snapshot(), settings()).learn(batches()[14:])
    assert again.said() == again.said_of_shoppers() == again.known()
    stages = {sid: members for sid, members in again.known().items() if sid.startswith("lifecycle")}
    assert any(stages.values())
    assert {registered(store)[sid] for sid in stages} == {"live"}
    assert all("stats" in keys_of(store, sid) for sid in stages)
    store.close()


@pytest.mark.slow
def test_an_old_redis_restored_loses_segments_retired_since(redis_url: str, tmp_path: Path) -> None:
    store = connect(redis_url)
    draft = tmp_path / "one.yaml"
    draft.write_text("keen:\n  name: Keen\n  when: views >= 3\n")
    with_rule = settings(f"segments.file={draft}")
    first = Telling(store, settings=with_rule).learn(batches(6000)[:25])
    first.learning.state.memberships.registry.index_of("keen")
    backup = {key: store.client.dump(key) for key in store.client.scan_iter("ps:1:segment*")}
    some = backup[keys.members_key("lifecycle-new").encode()]
    backup |= {keys.members_key(sid).encode(): some for sid in ("keen", "rfm-loyal")}
    fewer = settings("clusters.k=3", "rfm.enabled=false")
    later = Telling(store, first.learning.snapshot(), fewer).learn(batches(6000)[25:])
    living = {sid for _, sid in later.learning.state.memberships.registry.active()}
    ended = {sid for sid in first.known() if sid.startswith("cluster-")} - living
    assert ended
    for key, value in backup.items():
        store.client.restore(key, 0, value, replace=True)
    for writes in shared_writes(later.learning.state, 0, 100):
        store.send(writes)
    store.flush()
    assert later.said() == later.known()
    status = registered(store)
    assert not ended & status.keys()
    assert (status["keen"], status["rfm-loyal"]) == ("retired", "retired")
    assert status["propensity-ready-to-buy"] != "retired"
    for sid in ended:
        assert keys_of(store, sid) <= {"history", "history:hours"}
    for sid in ("keen", "rfm-loyal"):
        assert keys_of(store, sid) <= {"definition", "versions", "history", "history:hours"}
    store.close()


def test_members_of_a_retired_cluster_move_to_its_replacement_at_once(redis_url: str) -> None:
    store = connect(redis_url)
    first = Telling(store, settings=settings()).learn(batches(6000)[:25])
    known = {sid: set(one) for sid, one in first.known().items() if sid.startswith("cluster-")}
    told = changes(store)
    fewer = Telling(store, first.learning.snapshot(), settings("clusters.k=3"))
    fewer.learn(batches(6000)[25:])
    now = {sid: set(one) for sid, one in fewer.known().items() if sid.startswith("cluster-")}
    assert fewer.said() == fewer.said_of_shoppers() == fewer.known()
    alive = {sid for sid, members in now.items() if members}
    assert len(known) == 8
    assert len(alive) == 3
    merged = {shopper for kind, shopper, _ in changes(store) if kind == "merge"}
    assert set().union(*now.values()) >= set().union(*known.values()) - merged
    status = registered(store)
    assert {sid for sid in status if sid.startswith("cluster-") and status[sid] == "live"} == alive
    for sid in known.keys() - alive:
        assert keys_of(store, sid) <= {"definition", "history", "history:hours"}
    names = [store.client.hget(keys.definition_key(sid), "name") for sid in sorted(alive)]
    assert len({*names}) == 3
    left = changes(store) - told
    moved = [one for one in left if one[0] == "leave" and one[2] in known.keys() - alive]
    assert moved
    assert max(left[one] for one in moved) == 1
    for key in store.client.scan_iter("ps:1:shopper:*:profile"):
        said = store.client.hget(key, "cluster")
        assert said is None or said.decode() in alive
    store.close()
