"""The orders of the personalization step: each test fails when the two things it names are swapped.

The numbers are those of the comments that begin with `Order` in `operators/personalize/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from operators.personalize.batch import Batch
from operators.personalize.training.item_events import item_events_of
from operators.personalize.training.items import ItemTraining
from operators.recommend.items.models import ItemModels
from operators.recommend.items.trainer import ItemTrainer
from operators.segments.changes import OrphanedChanges, changes_in
from operators.shards.batching import SourceBatcher
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state import config, keys
from state.changes import Change
from state.events import Item, Reco
from tests.personalization import Personalization
from tests.streams import (
    LATENESS_MS,
    MINUTE_MS,
    RULES,
    SHARDS,
    START_MS,
    arguments,
    event,
    flow_settings,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from state.changes import StreamIds
    from state.events import Event
    from state.messages import BatchOutput, ShardPart, Write

DAY_MS = 86_400_000


class Shards:
    """The shards of a flow: what they make of each batch is the input of the step."""

    def __init__(self) -> None:
        self._batcher = SourceBatcher()
        self._devices = [DeviceShard(RULES) for _ in range(SHARDS)]
        self._users = [UserShard(RULES) for _ in range(SHARDS)]

    def parts(self, *events: Event, last: bool = False) -> list[ShardPart]:
        groups = self._batcher.batch(
            events,
            partition="p",
            shards=SHARDS,
            allowed_lateness_ms=LATENESS_MS,
            last=last,
            live=True,
        ).shard_inputs
        outputs = [one for g in groups for one in self._devices[g.shard].process(g)]
        return [p for m in regroup(outputs, SHARDS) for p in self._users[m.shard].process(m)]


class Crashed:
    """What a crashed run wrote to the change streams."""

    def __init__(self, *changes: Change) -> None:
        self._changes = list(changes)

    def orphans_after(self, ids: StreamIds) -> OrphanedChanges:
        return OrphanedChanges(self._changes, ids, frozenset())


def processed(step: Personalization, parts: Sequence[ShardPart]) -> BatchOutput:
    (output,) = step.process_batch(parts)
    return output


def first_output(*events: Event, **settings: Any) -> tuple[Personalization, BatchOutput]:
    step = Personalization(flow_settings(**settings))
    return step, processed(step, Shards().parts(*events))


def keys_of(writes: Sequence[Write]) -> list[str]:
    return [str(arguments(write)[1]) for write in writes]


def click(event_id: object, at_ms: int, shopper: str, item: str, **more: Any) -> Event:
    return event("item_view", event_id, at_ms, shopper, items=(Item(item),), **more)


def identify(event_id: object, at_ms: int, shopper: str, user: str) -> Event:
    return event("identify", event_id, at_ms, shopper, user)


def test_1_batches_are_coalesced_before_anything_reads_their_shoppers() -> None:
    shards = Shards()
    parts = [*shards.parts(view(1, 0)), *shards.parts(identify(2, 1, "ann", "u"))]
    by_batch: dict[int, list[Any]] = {}
    for part in parts:
        by_batch.setdefault(part.batch.number, []).extend(part.outputs)
    items = ItemTraining(flow_settings()).process_batch([item_events_of(part) for part in parts])
    batch = Batch.from_outputs(list(by_batch.values()), items)
    assert {row.shopper for row in batch.active} == {"u"}
    assert batch.items.events.shoppers == ["u"]


def test_2_a_crashed_run_is_compensated_before_shoppers_are_removed() -> None:
    """Its changes are compared with memberships as they were restored."""
    shards = Shards()
    before = Personalization(flow_settings())
    processed(before, shards.parts(view(1, 0)))
    row = before.state.recommender.shoppers.get("ann")
    since_ms = dict(before.state.memberships.memberships_of(row))["lifecycle-new"]
    left = Change("leave", "ann", "lifecycle-new", START_MS + 1)
    step = Personalization(flow_settings(), before.snapshot(), orphaned_changes=Crashed(left))
    output = processed(step, shards.parts(identify(2, 2, "ann", "u")))
    of_ann = [
        (change["kind"], change["segment"], change["event_ts"])
        for change in changes_in(output.changes)
        if change["shopper"] == "ann" and change["segment"] in ("lifecycle-new", "u")
    ]
    assert of_ann == [
        ("enter", "lifecycle-new", since_ms),
        ("leave", "lifecycle-new", START_MS + 2),
        ("merge", "u", START_MS + 2),
    ]


def test_3_shoppers_are_merged_before_the_interactions_of_the_batch_are_resolved() -> None:
    """The user has its row, and the session that it inherits, before its new interactions."""
    shards, step = Shards(), Personalization(flow_settings())
    processed(step, shards.parts(click(1, 0, "ann", "mug")))
    processed(
        step,
        shards.parts(
            click(2, 1, "zoe", "pot"),
            identify(3, 2, "ann", "u"),
            click(4, 3, "ann", "cup", user_id="u"),
        ),
    )
    recommender = step.state.recommender
    assert recommender.shoppers.ids == ["ann", "u", "zoe"]
    context = recommender.components.session_contexts.recent[1]
    items = [recommender.items.ids[row] for row in context.tolist() if row >= 0]
    assert items == ["cup", "mug"]


def test_4_interactions_are_resolved_before_shoppers_are_assigned() -> None:
    step, _ = first_output(
        event("page_view", 1, 0, "reader"), event("page_view", 2, 0, "other"), view(3, 1, "clicker")
    )
    assert step.state.recommender.shoppers.ids[0] == "clicker"


def test_5_memberships_note_who_is_active_before_shoppers_are_assigned() -> None:
    """A new shopper was in no segment until now: nothing of it has to be kept from expiring."""
    _, output = first_output(view(1, 0))
    expiries = [
        write
        for write in map(arguments, output.memberships)
        if write[:2] == ("EXPIRE", keys.segments_key("ann"))
    ]
    assert len(expiries) == 1


def test_6_active_shoppers_are_assigned_before_time_passes_for_the_others() -> None:
    """Of a shopper who comes back, the events decide: the clock finds nothing to change."""
    shards, step = Shards(), Personalization(flow_settings())
    processed(step, shards.parts(view(1, 0)))
    processed(step, shards.parts(view(2, 100 * DAY_MS, "bob")))  # the clock of the next batch
    output = processed(step, shards.parts(view(3, 100 * DAY_MS + MINUTE_MS)))
    updates = [w for w in map(arguments, output.memberships) if w[0] == "EVAL"]
    assert updates == []
    stages = [
        (change["kind"], change["segment"])
        for change in changes_in(output.changes)
        if change["shopper"] == "ann" and change["kind"] == "enter"
    ]
    assert ("enter", "lifecycle-re-engaged") in stages


def test_7_feedback_is_observed_before_interactions_are_learned() -> None:
    """Of an item that is new with this batch nothing was shown yet."""
    shown = event(
        "reco_view", 2, 1, "ann", items=(Item("mug"),), reco=Reco(slot="home", position=1)
    )
    step, _ = first_output(click(1, 0, "ann", "mug"), shown)
    assert len(step.state.recommender.items.row_by_id) == 1
    assert step.state.recommender.components.negative_feedback.is_empty


def test_8_lists_are_evaluated_by_the_replica_before_it_has_what_was_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    step = Personalization(flow_settings())
    components, trainer = step.state.recommender.components, step.items.trainer

    def recorded(owner: Any, name: str, label: str) -> None:
        real = getattr(owner, name)

        def record(*args: Any, **more: Any) -> Any:
            calls.append(label)
            return real(*args, **more)

        monkeypatch.setattr(owner, name, record)

    recorded(components.blend, "update_weights", "evaluate")
    recorded(trainer.models.learners[0], "learn_many", "train")
    recorded(ItemTrainer, "update_items", "items")
    recorded(ItemModels, "write", "replica")
    recorded(components.shopper_learners[0], "learn_many", "learn")
    processed(step, Shards().parts(view(1, 0)))
    assert calls == ["train", "items", "replica", "evaluate", "replica", "learn"], (
        "whole at a start"
    )


def test_9_views_are_added_before_alerts_are_triggered() -> None:
    """A view in this batch decides who is alerted of a price drop in it."""
    mug = (Item("mug", price=10.0),)
    output = first_output(
        event("item_view", 1, 0, "ann", items=mug),
        event("item", 2, MINUTE_MS, "catalogue", items=(Item("mug", price=5.0),)),
    )[1]
    alerts = [change for change in changes_in(output.changes) if change["kind"] == "trigger"]
    assert [(alert["segment"], alert["shopper"]) for alert in alerts] == [("price-drop", "ann")]


def test_10_the_batch_is_counted_before_the_counters_are_published() -> None:
    _, output = first_output(view(1, 0), view(2, 1, "bob"))
    meta = next(w for w in map(arguments, output.aggregates) if w[1] == keys.meta_key())
    published = dict(zip(meta[2::2], meta[3::2], strict=True))
    entered = [c for c in changes_in(output.changes) if c["kind"] in ("enter", "leave")]
    assert published["lists_written"] == 2
    assert published["segment_changes"] == len(entered) > 0


def test_11_profiles_expire_after_they_are_written() -> None:
    """EXPIRE of a key that does not exist does nothing."""
    _, output = first_output(view(1, 0))
    profile = keys.profile_key("ann")
    commands = [w[0] for w in map(arguments, output.writes) if w[1] == profile]
    assert commands == ["HSET", "EXPIRE"]


def test_12_lists_are_made_before_shoppers_are_evicted() -> None:
    """A removed row is free: the list of this batch is still that of the shopper who had it."""
    clicks = [click(n, n, f"s{n % 3}", f"item {n % 4}") for n in range(24)]
    _, free = first_output(*clicks)
    step, limited = first_output(*clicks, state=config.State(shoppers_max=1))
    assert len(step.state.recommender.shoppers.row_by_id) == 1
    assert lists_of(limited) == lists_of(free)


def lists_of(output: BatchOutput) -> dict[str, Any]:
    return {
        str(write[1]): orjson.loads(str(write[2]))
        for write in map(arguments, output.lists)
        if write[0] == "SET"
    }


def test_13_each_field_of_the_output_holds_the_keys_that_it_is_named_for() -> None:
    """Freshness metrics are of fields, not of positions."""
    _, output = first_output(view(1, 0), view(2, 1, "bob"))
    names = ("ann", "bob")
    profiles = {keys.profile_key(name) for name in names}
    assert set(keys_of(output.profiles)) == profiles
    assert set(keys_of(output.lists)) == {keys.top_key(name, keys.SLOT) for name in names}
    kinds = {key.rsplit(":", 1)[-1] for key in keys_of(output.memberships)}
    assert kinds == {"segments", "members"}
    assert set(keys_of(output.expiries)) == profiles
    assert [name for name, _ in output.visible_together()] == ["profile", "segments", "list"]


def test_14_changes_are_collected_last_and_written_first() -> None:
    """A run that takes over from a crashed one undoes by the stream what that one wrote."""
    _, output = first_output(view(1, 0))
    assert output.changes
    assert output.writes[: len(output.changes)] == output.changes
    entered = {str(c["segment"]) for c in changes_in(output.changes) if c["kind"] == "enter"}
    assert {keys.members_key(segment) for segment in entered} <= set(keys_of(output.memberships))
