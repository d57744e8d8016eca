"""Processing errors: an event that raises becomes a dead letter, and the run continues.

The exceptions are raised in real steps of the real flow: they stand for bugs of ours, not for bad input.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_source
from flows.sources.recorded import RecordedSource
from operators.catalogue.item_cards import ItemCards
from operators.events.decode import RecordPosition, decode
from operators.events.processing_errors import ProcessingErrors
from operators.publish.shop_stats import ShopStats
from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import Covisitation
from operators.recommend.recommender import Recommender
from operators.recommend.rendering import ListRenderer
from operators.segments.assignment import SegmentAssignment
from operators.segments.clusters.model import ClusterModel
from operators.segments.propensity.propensity import PropensityModels
from operators.segments.rules.compiler import load_rules
from operators.segments.rules.engine import RuleEngine
from operators.segments.rules.folded_operations import FoldedOperations
from operators.shards import device_events, event_columns, processor, user_shard
from operators.shards.config import ProcessorConfig
from operators.shards.shopper_table import ShopperTable
from operators.shoppers import profile
from operators.synthetic.traffic import generate_events
from state import keys
from state.config import Lifecycle, Profiles, Sessions, State
from state.errors import UserError
from state.store import Store
from tests.flows.recovery.test_crash import CrashingSource
from tests.flows.test_dataflow import facts_of, figures
from tests.streams import ITEMS, SHARDS, Flow, content, event, flow_settings, run_flow, view

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from state.config import Settings
    from state.events import Event
    from state.interactions import ListRequests

SHOP = list(generate_events(events=1200, shoppers=150, items=40, events_per_s=0.3))
RULES = (Path(__file__).parents[3] / "segments.yaml").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of Redis after a run in which nothing raises."""
    with EmbeddedRedis() as server:
        return run_flow(SHOP, server.url, tmp_path_factory.mktemp("whole"), settings=ruled(100))


def ruled(batch_events: int, epoch_ms: int = 10_000) -> Settings:
    """A flow with segments by rule."""
    plain = flow_settings(batch_events=batch_events, epoch_ms=epoch_ms)
    return msgspec.structs.replace(plain, segment_rules_text=RULES)


def poison(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, place: int, of: set[str]
) -> None:
    """A function of ours that raises at its end for some events, its argument at a place."""
    real: Callable[..., Any] = getattr(owner, name)

    def poisoned(*args: Any, **more: Any) -> Any:
        done = real(*args, **more)
        if args[place].event_id in of:
            raise IndexError("index 7 is out of bounds")
        return done

    monkeypatch.setattr(owner, name, poisoned)


def take_the_slow_path(monkeypatch: pytest.MonkeyPatch, of: set[str]) -> None:
    """Have these events not folded: a compiled fold calls no function that a test can poison."""

    def is_plain(event: Event) -> bool:
        return event.event_id not in of and event_columns.is_plain(event)

    for module in (device_events, user_shard):
        monkeypatch.setattr(module, "is_plain", is_plain)


def letters_in(folder: Path) -> list[dict[str, Any]]:
    return [
        orjson.loads(line) for line in (folder / "dead_letters.jsonl").read_bytes().splitlines()
    ]


def chosen() -> list[Event]:
    """Events of an anonymous shopper, of a user, of a device of a user, and an order."""
    later = SHOP[100:]
    return [
        next(e for e in later if e.user_id is None and e.type == "item_view"),
        next(e for e in later if e.user_id and e.anonymous_id and e.type == "cart_add"),
        next(e for e in later if e.type == "purchase"),
    ]


@pytest.mark.parametrize(
    ("owner", "name", "place"),
    [(profile, "apply_event", 2), (RuleEngine, "apply_event", 3)],
    ids=["profile", "rules"],
)
@pytest.mark.parametrize("batch_events", [1, 100, 5000])
def test_an_event_that_raises_is_a_dead_letter_and_all_others_count(
    owner: Any,
    name: str,
    place: int,
    batch_events: int,
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    tmp_path: Path,
    processing_errors: list[logging.LogRecord],
) -> None:
    bad = chosen()
    ids = {one.event_id for one in bad}
    settings = ruled(batch_events)
    poison(monkeypatch, owner, name, place, ids)
    take_the_slow_path(monkeypatch, ids)
    told = figures(run_flow(SHOP, redis_url, tmp_path, settings=settings))
    assert told["rejected"] == {"processing_error": len(bad)}
    assert told["accepted"] + told["duplicates"] + len(bad) == told["events"] == len(SHOP)
    found = letters_in(tmp_path)
    assert {orjson.loads(letter["raw"])["event_id"] for letter in found} == ids
    assert len(found) == len(bad)
    for letter in found:
        assert (letter["failure_type"], letter["source"]) == ("processing_error", "shop")
        assert "IndexError" in letter["errors"][0]["message"]
        again = decode(letter["raw"].encode(), RecordPosition("", "", 0), now_ms=1 << 60)
        one = next(one for one in bad if again.event_id == one.event_id)  # type: ignore[union-attr]
        assert msgspec.structs.replace(again, props=one.props) == one
    assert [record.exc_info is not None for record in processing_errors] == [True] * len(bad)
    processing_errors.clear()


def test_after_a_crash_each_dead_letter_is_there_once_and_redis_as_without_one(
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    tmp_path: Path,
    processing_errors: list[logging.LogRecord],
) -> None:
    settings = ruled(60, epoch_ms=1)
    poison(monkeypatch, profile, "apply_event", 2, {one.event_id for one in chosen()})
    whole = run_flow(SHOP, redis_url, tmp_path, settings=settings)
    letters = sorted(map(msgspec.json.encode, letters_in(tmp_path)))
    Store(redis_url, timeout_ms=2000, patience_s=2).client.flushall()
    crashes, folder = [3, 9, 14], tmp_path / "crashed"
    folder.mkdir()
    for _ in range(len(crashes) + 1):
        replay_source(
            CrashingSource(RecordedSource({"shop": lambda: iter(SHOP)}, settings), crashes),
            settings,
            redis_url=redis_url,
            dead_letters=folder / "dead_letters.jsonl",
            recovery_folder=folder / "recovery",
        )
    assert sorted(map(msgspec.json.encode, letters_in(folder))) == letters
    assert content(redis_url) == whole
    processing_errors.clear()


def test_an_event_that_raised_counts_when_it_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, processing_errors: list[logging.LogRecord]
) -> None:
    ann = [view(n, n * 1000) for n in range(3)]
    order = event("purchase", 9, 4000, order_id="o", items=(ITEMS[1],), value=12.0)
    flow, undisturbed = Flow(), Flow()
    with monkeypatch.context() as patched:
        poison(patched, processor, "emit_interactions", 3, {"0", "9"})
        flow.feed([*ann, order])
    assert [letter.partition for one in flow.visited for letter in one.dead_letters] == ["0", "0"]
    flow.feed([ann[0], order, ann[1]])
    undisturbed.feed([*ann[1:], ann[0], order, ann[1]])
    counted, wanted = flow.outcome(), undisturbed.outcome()
    assert counted.totals == wanted.totals | {"failed": 2, "accepted": 4, "duplicates": 1}
    assert counted.shoppers["ann"].recent_event_hashes == wanted.shoppers["ann"].recent_event_hashes
    assert counted.shoppers["ann"].orders == wanted.shoppers["ann"].orders
    processing_errors.clear()


def test_a_row_that_cannot_be_stored_does_not_fail_the_snapshot(
    processing_errors: list[logging.LogRecord],
) -> None:
    flow = Flow()
    flow.feed([view(1, 0, "ann"), view(2, 0, "bob"), view(3, 0, None, user_id="eve")])
    tables = [one.shoppers.rows for one in flow.devices] + [one.shoppers.rows for one in flow.users]
    for rows in tables:
        for name in {"ann", "eve"} & rows.keys():
            rows[name].events = 1 << 70
    assert [*flow.resumed().outcome().shoppers] == ["bob"]
    assert all(".snapshot raised" in record.getMessage() for record in processing_errors)
    assert len(processing_errors) == 2
    processing_errors.clear()


def counted_of(rows: dict[str, Any]) -> dict[str, Any]:
    """The facts, but for the stage, which the step says that sees everybody."""
    return {
        key: [pair for pair in value if pair[0] != b"stage"] if isinstance(value, list) else value
        for key, value in facts_of(rows).items()
    }


LEARNED = [
    (Covisitation, "learn_many"),
    (Covisitation, "candidates"),
    (Content, "update_items"),
    (ListRenderer, "render"),
    (ClusterModel, "assign"),
    (PropensityModels, "observe_batch"),
    (PropensityModels, "advance"),
    (SegmentAssignment, "assign_active"),
    (ShopStats, "count_batch"),
    (ItemCards, "update"),
]


@pytest.mark.parametrize(
    ("owner", "name"), LEARNED, ids=[f"{one.__name__}.{name}" for one, name in LEARNED]
)
def test_an_exception_in_the_learn_step_costs_no_facts(
    owner: Any,
    name: str,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    tmp_path: Path,
    processing_errors: list[logging.LogRecord],
) -> None:
    real, calls = getattr(owner, name), []

    def poisoned(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) % 4 == 1:
            raise ValueError("cannot convert float NaN to integer")
        return real(*args, **more)

    monkeypatch.setattr(owner, name, poisoned)
    recovered = run_flow(
        SHOP, redis_url, tmp_path, settings=ruled(100, epoch_ms=1), recovery_folder=tmp_path / "r"
    )
    assert processing_errors
    assert {record.exc_info is None for record in processing_errors[:20]} == {False}
    processing_errors.clear()
    assert counted_of(recovered) == counted_of(undisturbed)
    assert figures(recovered)["accepted"] == figures(undisturbed)["accepted"]
    assert not (tmp_path / "dead_letters.jsonl").exists()


def test_an_exception_for_one_shopper_costs_no_other_lists(
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    tmp_path: Path,
    processing_errors: list[logging.LogRecord],
) -> None:
    bad = next(one for one in SHOP if one.type == "item_view" and not one.user_id).anonymous_id
    real = Recommender.requests_for

    def poisoned(self: Recommender, shoppers: Sequence[str], now_ms: int) -> ListRequests:
        if bad in shoppers:
            raise ValueError("cannot convert float NaN to integer")
        return real(self, shoppers, now_ms)

    monkeypatch.setattr(Recommender, "requests_for", poisoned)
    rows = run_flow(SHOP, redis_url, tmp_path, settings=ruled(100))

    def listed(of: dict[str, Any]) -> set[str]:
        return {key for key in of if key.endswith(":top:home")}

    assert listed(undisturbed) - listed(rows) == {keys.top_key(str(bad), keys.SLOT)}
    assert processing_errors
    processing_errors.clear()


@pytest.mark.parametrize("guard", ["record", "isolate", "call_or_default"])
@pytest.mark.parametrize("error", [MemoryError(), UserError("Redis is gone")])
def test_no_guard_catches_what_a_person_has_to_act_on(guard: str, error: Exception) -> None:
    def fail() -> None:
        raise error

    errors = ProcessingErrors("step")

    def record() -> None:
        try:
            fail()
        except Exception:
            errors.record("part")

    def isolate() -> None:
        with errors.isolate("part"):
            fail()

    def call() -> None:
        errors.call_or_default("part", None, fail)

    with pytest.raises(type(error)):
        {"record": record, "isolate": isolate, "call_or_default": call}[guard]()
    assert errors.take_counts() == {}


def test_a_shard_without_memory_does_not_pass_it_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where events are folded, nor where it makes ready what rules see of them."""

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    rules = ProcessorConfig.from_config(
        Sessions(shards=SHARDS), Profiles(), State(), Lifecycle(), load_rules(ruled(100))
    )
    for owner, name in ((ShopperTable, "row_for"), (FoldedOperations, "__init__")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, no_memory)
            flow = Flow(rules=rules)
            with pytest.raises(MemoryError):
                flow.feed([view(n, n, f"device {n}") for n in range(400)])
