"""All kinds of segments at once, over weeks and crashes: their keys in Redis are consistent and equal
those of an undisturbed run; histories equal a count of the events."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.synthetic.traffic import generate_events
from state import keys
from state.config import Clusters, Lifecycle, Propensity
from state.store import Store
from state.times import HOUR_MS, MINUTE_MS
from tests.flows.recovery.test_crash import CrashingSource
from tests.streams import flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Settings

EVENTS = [*generate_events(events=3500, shoppers=120, items=40, events_per_s=0.002)]
"""Twenty days."""
BATCH = 100
BATCHES = len(EVENTS) // BATCH
KINDS = ("cluster-", "rfm-", "lifecycle-", "propensity-")
RULES = (Path(__file__).parents[3] / "segments.yaml").read_text()


def all_on(epoch_ms: int = 10_000, algorithm: Literal["kmeans", "dbstream"] = "kmeans") -> Settings:
    return msgspec.structs.replace(
        flow_settings(batch_events=BATCH, epoch_ms=epoch_ms),
        clusters=Clusters(algorithm=algorithm, k=(2, 6), half_life_points=400),
        lifecycle=Lifecycle(new_days=1, dormant_days=2, reengaged_days=1, lost_days=5),
        propensity=Propensity(
            sampled_share=1.0, horizon_days=2, churn_days=2, dormant_days=2, labels_min=10
        ),
        segment_rules_text=RULES,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


class Said:
    """All keys of segments in Redis."""

    def __init__(self, url: str) -> None:
        store = Store(url, timeout_ms=2000, patience_s=2)
        client = store.client
        self.segments = sorted(sid.decode() for sid in client.hkeys(keys.registry_key()))
        self.members = {
            sid: {
                who.decode(): int(at)
                for who, at in client.zrange(keys.members_key(sid), 0, -1, withscores=True)
            }
            for sid in self.segments
        }
        self.sizes = {
            sid: int(client.hget(keys.stats_key(sid), "size") or 0) for sid in self.segments
        }
        self.of_shoppers: dict[str, dict[str, int]] = {sid: {} for sid in self.segments}
        for key in client.scan_iter("ps:1:shopper:*:segments"):
            who = key.decode().partition("{")[2].partition("}")[0].replace("%3A", ":")
            for sid, at in client.hgetall(key).items():
                self.of_shoppers[sid.decode()][who] = int(at)
        self.changes = [
            {name.decode(): value.decode() for name, value in fields.items()}
            for stream in range(keys.CHANGE_STREAMS)
            for _, fields in client.xrange(keys.change_stream_key(stream))
        ]
        self.histories = {sid: entries(client, keys.history_key(sid)) for sid in self.segments}
        self.shop = entries(client, keys.shop_history_key())
        self.shop_hours = entries(client, keys.shop_history_hours_key())
        self.everything = dict(store.rows())
        store.close()


def entries(client: Any, key: str) -> dict[int, dict[str, float]]:
    """A history: its entries by time (ms)."""
    return {
        int(at.partition(b"-")[0]): {name.decode(): float(value) for name, value in said.items()}
        for at, said in client.xrange(key)
    }


def assert_fits_together(said: Said) -> None:
    """Members, shoppers, sizes and the change stream have the same memberships."""
    assert said.members == said.of_shoppers
    assert said.sizes == {sid: len(members) for sid, members in said.members.items()}
    by_change: dict[str, dict[str, int]] = {sid: {} for sid in said.segments}
    for change in said.changes:
        members, who = by_change.get(change["segment"], {}), change["shopper"]
        if change["kind"] == "enter":
            assert who not in members, change
            members[who] = int(change["event_ts"])
        elif change["kind"] == "leave":
            assert members.pop(who, None) is not None, change
    assert by_change == said.members
    for kind in KINDS[:3]:
        of_kind = [members for sid, members in said.members.items() if sid.startswith(kind)]
        assert max(Counter(who for members in of_kind for who in members).values()) == 1


@pytest.fixture(scope="module")
def undisturbed(server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Said:
    run_flow(EVENTS, server.url, tmp_path_factory.mktemp("undisturbed"), settings=all_on())
    return Said(server.url)


def test_all_kinds_tell_of_the_same_memberships_everywhere(undisturbed: Said) -> None:
    assert_fits_together(undisturbed)
    full = [sid for sid, members in undisturbed.members.items() if members]
    assert {kind for kind in KINDS if any(sid.startswith(kind) for sid in full)} == {*KINDS}
    assert len([sid for sid in full if not sid.startswith(KINDS)]) >= 5
    moved = {change["segment"] for change in undisturbed.changes if change["kind"] == "leave"}
    assert {kind for kind in KINDS if any(sid.startswith(kind) for sid in moved)} == {*KINDS}


def test_histories_of_segments_add_up(undisturbed: Said) -> None:
    """Each entry follows from the previous one, and their sums equal the change stream."""
    moves: dict[str, Counter[str]] = defaultdict(Counter)
    last_ms = max(int(change["event_ts"]) for change in undisturbed.changes)
    for change in undisturbed.changes:
        moves[change["segment"]][change["kind"]] += 1
    for sid, history in undisturbed.histories.items():
        size, entered, left = 0, 0, 0
        for at_ms, one in sorted(history.items()):
            assert at_ms % MINUTE_MS == 0
            size += int(one["entered"] - one["left"])
            assert one["size"] == size, (sid, at_ms)
            entered, left = entered + int(one["entered"]), left + int(one["left"])
        open_ms = max(history, default=0) + MINUTE_MS
        if open_ms <= last_ms:  # what is not over yet is in no entry
            entered_since = moves[sid]["enter"] - entered
            left_since = moves[sid]["leave"] - left
            assert entered_since >= 0
            assert left_since >= 0
            assert size + entered_since - left_since == undisturbed.sizes[sid]


def test_the_history_of_the_shop_is_what_its_events_come_to(undisturbed: Said) -> None:
    for said, unit_ms in ((undisturbed.shop, MINUTE_MS), (undisturbed.shop_hours, HOUR_MS)):
        naive: dict[int, Counter[str]] = defaultdict(Counter)
        for event in EVENTS:
            naive[event.received_ts // unit_ms * unit_ms]["events"] += 1
            for item in event.items if event.type == "cart_add" else ():
                naive[event.event_ts // unit_ms * unit_ms]["carts"] += bool(item.item_id)
        total = sum((Counter(one) for one in naive.values()), Counter[str]())
        last_ms = max(said)
        for at_ms, one in said.items():
            assert one["events"] == naive[at_ms]["events"], at_ms
        for name in ("events", "carts"):
            told = sum(one[name] for one in said.values())
            open_now = sum(one[name] for at, one in naive.items() if at > last_ms)
            assert told + open_now == total[name]
        orders = {event.order_id: event for event in EVENTS if event.type == "purchase"}
        told_orders = sum(one["purchases"] for one in said.values())
        worth = sum(one["revenue"] for one in said.values())
        over = [one for one in orders.values() if one.event_ts // unit_ms * unit_ms <= last_ms]
        assert told_orders == len(over)
        assert worth == pytest.approx(sum(one.value or 0.0 for one in over), abs=0.01 * len(over))


def crashed(url: str, crashes: list[int], chosen: Settings) -> Said:
    """The same with crashes before some batches."""
    to_come = sorted(crashes)
    with tempfile.TemporaryDirectory() as name:
        for _ in range(len(crashes) + 1):
            replay_source(
                CrashingSource(RecordedSource({"shop": lambda: iter(EVENTS)}, chosen), to_come),
                chosen,
                redis_url=url,
                dead_letters=Path(name) / "dead_letters.jsonl",
                recovery_folder=Path(name) / "recovery",
            )
    return Said(url)


@pytest.mark.slow
def test_a_crash_in_the_middle_changes_nothing(server: EmbeddedRedis, undisturbed: Said) -> None:
    server.send_command("FLUSHALL")
    said = crashed(server.url, [BATCHES // 2], all_on(5))
    assert_fits_together(said)
    assert said.everything == undisturbed.everything


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    crashes=st.lists(st.integers(0, BATCHES), min_size=1, max_size=3),
    epoch_ms=st.sampled_from([1, 5, 30, 10_000]),
)
def test_crashes_at_any_moment_change_nothing(
    server: EmbeddedRedis, undisturbed: Said, crashes: list[int], epoch_ms: int
) -> None:
    server.send_command("FLUSHALL")
    said = crashed(server.url, crashes, all_on(epoch_ms))
    assert_fits_together(said)
    assert said.everything == undisturbed.everything


@pytest.mark.slow
def test_neither_does_one_where_clusters_are_what_is_dense(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.models.dbstream.START_POINTS", 100)
    server.send_command("FLUSHALL")
    run_flow(EVENTS, server.url, tmp_path, settings=all_on(algorithm="dbstream"))
    undisturbed = Said(server.url)
    clusters = {sid for sid, members in undisturbed.members.items() if members}
    assert [sid for sid in clusters if sid.startswith("cluster-")]
    server.send_command("FLUSHALL")
    said = crashed(server.url, [BATCHES // 3, BATCHES * 2 // 3], all_on(5, "dbstream"))
    assert_fits_together(said)
    assert said.everything == undisturbed.everything
