"""Lifecycle: stages change at exact times, without an event, however events are cut into batches."""

from __future__ import annotations

import random
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.lifecycle import ACTIVE, DORMANT, LOST, NEW, REENGAGED, Lifecycle
from operators.shoppers.inactivity import observe
from state import config, config_loader, keys
from state.errors import ConfigurationError
from state.segments import STAGES
from state.shopper import Shopper
from state.snapshots import LEARN_CODEC, pack_arrays, unpack_arrays
from state.times import DAY_MS, HOUR_MS
from tests.learned import fed, outputs_of, retail
from tests.personalization import Personalization, Snapshots
from tests.streams import START_MS, arguments, event, flow_settings, view

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.events import Event
    from state.messages import BatchOutput, ShardPart

SPANS = config.Lifecycle()
SPAN_MS = {
    "new": SPANS.new_days * DAY_MS,
    "dormant": SPANS.dormant_days * DAY_MS,
    "re-engaged": SPANS.reengaged_days * DAY_MS,
    "lost": SPANS.lost_days * DAY_MS,
}
NAMES = list(STAGES)
MEMBERS_OF_DORMANT = keys.members_key("lifecycle-dormant")


def stages(seen_ms: Iterable[int], until_ms: int) -> list[tuple[int, str]]:
    """A shopper's stages from all times of its activity, by the definition of the stages alone."""
    seen = sorted(set(seen_ms))
    told = [(seen[0], "new"), (seen[0] + SPAN_MS["new"], "active")]
    for before, after in zip(seen, [*seen[1:], None], strict=True):
        told += [
            (before + SPAN_MS[stage], stage)
            for stage in ("dormant", "lost")
            if after is None or after >= before + SPAN_MS[stage]
        ]
        if after is not None and after >= before + SPAN_MS["dormant"]:
            told += [(after, "re-engaged"), (after + SPAN_MS["re-engaged"], "active")]
    return [one for one in sorted(told, key=lambda one: one[0]) if one[0] <= until_ms]


def absent(seen_ms: Sequence[int]) -> tuple[int, int]:
    """The last long absence between times, (0, 0) for none."""
    seen = sorted(seen_ms)
    gaps = [pair for pair in pairwise(seen) if pair[1] - pair[0] >= 30 * DAY_MS]
    return gaps[-1] if gaps else (0, 0)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_in_event_order_the_last_long_absence_is_stored(steps: list[int]) -> None:
    shopper: Shopper | None = None
    at_ms, seen = START_MS, []
    for step in steps:
        at_ms += step * 5 * DAY_MS
        seen.append(at_ms)
        if shopper is None:
            shopper = Shopper(False, at_ms, at_ms)
        observe(shopper, at_ms, 30 * DAY_MS)
        shopper.last_ms = at_ms
    assert shopper is not None
    assert (shopper.absence_start_ms, shopper.returned_ms) == absent(seen)


def test_a_late_event_within_an_absence_shortens_or_removes_it() -> None:
    def heard(*days: int) -> tuple[int, int]:
        shopper = Shopper(False, START_MS, START_MS)
        for day in days:
            at_ms = START_MS + day * DAY_MS
            observe(shopper, at_ms, 30 * DAY_MS)
            shopper.last_ms = max(shopper.last_ms, at_ms)
            shopper.first_ms = min(shopper.first_ms, at_ms)
        away_ms, returned_ms = shopper.absence_start_ms, shopper.returned_ms
        return (away_ms - START_MS) // DAY_MS, (returned_ms - START_MS) // DAY_MS

    assert heard(0, 50) == (0, 50)
    assert heard(0, 50, 5) == (5, 50)
    assert heard(0, 50, 45) == (0, 45)
    assert heard(0, 35, 20)[1] < 0
    assert heard(0, -40) == (-40, 0)


def told(
    learning: Personalization, events: Sequence[Event], size: int, until_ms: int
) -> dict[str, list[tuple[int, str]]]:
    """Stages of each shopper by the change streams."""
    changes: dict[str, list[tuple[int, str]]] = {}
    batches = fed(learning, events, size=size, until_ms=until_ms)
    for change in chain.from_iterable(batches):
        if change["kind"] == "enter" and str(change["segment"]).startswith("lifecycle-"):
            stage = str(change["segment"]).removeprefix("lifecycle-")
            changes.setdefault(str(change["shopper"]), []).append((int(change["event_ts"]), stage))
    return changes


@pytest.mark.parametrize("size", [1, 5])
@given(
    st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.integers(0, 60)), min_size=1, max_size=9)
)
def test_every_stage_is_published_at_its_exact_time(
    size: int, steps: list[tuple[str, int]]
) -> None:
    """Compared with stages computed from all events, also after the last event."""
    at_ms, events, seen = 0, [], dict[str, list[int]]()
    for number, (who, days) in enumerate(steps):
        at_ms += days * DAY_MS + HOUR_MS
        events.append(view(number, at_ms, who))
        seen.setdefault(who, []).append(START_MS + at_ms)
    until_ms = START_MS + at_ms + 200 * DAY_MS
    found = told(Personalization(flow_settings()), events, size, until_ms)
    for who, times in seen.items():
        if size == 1:
            assert found[who] == stages(times, until_ms)
        else:  # of two absences within a batch the first is not told of
            assert found[who][-1] == stages(times, until_ms)[-1]


class Restarted(Personalization):
    """A state that is stored and restored before each batch."""

    def process_batch(self, parts: Sequence[ShardPart]) -> list[BatchOutput]:
        self.__dict__ = Personalization(flow_settings(), self.snapshot()).__dict__
        return super().process_batch(parts)


@pytest.mark.parametrize(("seed", "moves_a_batch"), [(0, 99), (1, 99), (2, 2)])
def test_stages_that_change_at_once_are_published_in_the_same_order_after_a_resume(
    seed: int, moves_a_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of their changes; and changes beyond the limit of a batch are not lost."""
    monkeypatch.setattr("operators.segments.lifecycle.MOVES_PER_BATCH", moves_a_batch)
    rng = random.Random(seed)
    days = sorted((rng.uniform(0, 20), f"shopper {rng.randrange(9)}") for _ in range(40))
    events = [view(n, int(day * DAY_MS), who) for n, (day, who) in enumerate(days)]
    events += [view(f"later {n}", 200 * DAY_MS + n, "zoe") for n in range(30)]
    told, again = (
        [[c for c in changes if c["shopper"] != "zoe"] for changes in fed(learning, events, size=3)]
        for learning in (Personalization(flow_settings()), Restarted(flow_settings()))
    )
    assert told == again
    last = {str(change["shopper"]): change["segment"] for changes in told for change in changes}
    assert {*last.values()} == {"lifecycle-lost"}
    if moves_a_batch == 99:
        at_once = max(told, key=len)
        first_ms = dict(reversed([(c["shopper"], c["event_ts"]) for c in at_once]))
        assert len(first_ms) > 5


@pytest.mark.slow
def test_online_retail_equals_a_batch_computation() -> None:
    """Stages of each customer at the last change, from all times of its activity."""
    events = retail(8000)
    seen: dict[str, list[int]] = {}
    for one in events:
        seen.setdefault(one.user_id or one.anonymous_id or "", []).append(one.event_ts)
    until_ms = events[-1].event_ts
    found = told(Personalization(flow_settings()), events, 500, until_ms)
    for who, times in seen.items():
        assert found[who] == stages(times, until_ms)
    assert {stage for of in found.values() for _, stage in of} == set(NAMES)


def test_a_change_of_stage_has_an_entry_of_its_own() -> None:
    events = [view(1, 0), view(2, 40 * DAY_MS)]
    batches = fed(Personalization(flow_settings()), events, size=1, until_ms=START_MS + 41 * DAY_MS)
    changes = chain.from_iterable(batches)
    of_stages = [(c["kind"], c["segment"]) for c in changes if "lifecycle" in str(c["segment"])]
    assert of_stages == [
        ("enter", "lifecycle-new"),
        *(
            (kind, f"lifecycle-{stage}")
            for before, after in zip(
                ("new", "active", "dormant"), ("active", "dormant", "re-engaged"), strict=True
            )
            for kind, stage in (("leave", before), ("enter", after), ("stage", after))
        ),
    ]


def test_inactive_shoppers_get_a_stage_when_stages_are_turned_on() -> None:
    """Only the last activity is stored: no shopper is new, and earlier stages are not published."""
    first = Personalization(flow_settings(lifecycle=config.Lifecycle(enabled=False)))
    seen = (("ann", 0), ("bob", 10), ("zoe", 35), ("zoe", 36))
    events = [view(n, day * DAY_MS, who) for n, (who, day) in enumerate(seen)]
    before = chain.from_iterable(fed(first, events, size=1))
    assert not [c for c in before if "lifecycle-" in str(c["segment"])]
    on = Personalization(flow_settings(), first.snapshot())
    later = [view(f"later {day}", day * DAY_MS, "zoe") for day in (37, 42, 95, 96)]
    changes = [c for c in chain.from_iterable(fed(on, later, size=1)) if c["kind"] != "stage"]
    of = {
        who: [
            (c["kind"], str(c["segment"])[10:])
            for c in changes
            if c["shopper"] == who and "lifecycle-" in str(c["segment"])
        ]
        for who in ("ann", "bob")
    }
    became_lost = [("enter", "dormant"), ("leave", "dormant"), ("enter", "lost")]
    assert of["ann"] == became_lost
    assert of["bob"] == [("enter", "active"), ("leave", "active"), ("enter", "dormant")]
    assert on.state.memberships.size_of("lifecycle-new") == 0


def as_before_there_were_stages(snapshots: Snapshots) -> Snapshots:
    """What a release without RFM and stages stored: of memberships only the clusters, and of shoppers
    who were merged or erased still when they were seen last."""
    state = LEARN_CODEC.decode(snapshots.personalize)
    arrays = unpack_arrays(state.audience)
    kept = {name: arrays[name] for name in ("cluster", "known", "order_ms", "last_ms", "roster")}
    names = state.vocabularies["shoppers"]
    names[names.index("")] = "eve"
    for name in ("ann", "eve"):
        kept["last_ms"][names.index(name)] = START_MS + 2
    # Clusters had not been found yet in so short a stream.
    kept["cluster"][names.index("bob")] = kept["cluster"][names.index("u")] = 0
    kept["roster"] = np.frombuffer(b"cluster-0", np.uint8)
    changed = msgspec.structs.replace(state, audience=pack_arrays(kept))
    return snapshots._replace(personalize=LEARN_CODEC.encode(changed))


def test_shoppers_merged_or_erased_before_stages_were_turned_on_are_written_nowhere() -> None:
    off = Personalization(flow_settings(lifecycle=config.Lifecycle(enabled=False)))
    events = [view(1, 0, "ann"), view(2, 1, "bob"), view(3, 2, "eve")]
    events += [event("identify", 4, 3, "ann", "u"), event("erase", 5, 4, "eve")]
    list(outputs_of(off, events, size=3))
    on = Personalization(flow_settings(), as_before_there_were_stages(off.snapshot()))
    later = [view(6, 60 * DAY_MS, "zoe"), view(7, 61 * DAY_MS, "zoe")]
    outputs = chain.from_iterable(outputs_of(on, later, size=1))
    writes = [arguments(write) for output in outputs for write in output.writes]
    staged = {str(write[1]) for write in writes if "stage" in write and write[0] == "HSET"}
    staged |= {str(write[3]) for write in writes if "stage" in write and write[0] == "EVAL"}
    assert staged == {keys.profile_key(name) for name in ("bob", "u", "zoe")}
    entered = [write[3::2] for write in writes if write[:2] == ("ZADD", MEMBERS_OF_DORMANT)]
    assert set(chain.from_iterable(entered)) == {"bob", "u"}


def test_stages_by_the_age_of_events() -> None:
    lifecycle = Lifecycle(SPANS)
    day = DAY_MS
    lifecycle.ensure_rows(1)
    for now, stage in ((0, NEW), (6, NEW), (7, ACTIVE), (29, ACTIVE), (30, DORMANT), (90, LOST)):
        rows = np.array([0], np.int32)
        lifecycle.update(rows, np.array([[day, day, 0, 0]]))
        assert lifecycle.timelines(rows).stage_at(np.array([day + now * day])).tolist() == [stage]
    lifecycle.update(rows, np.array([[day, 50 * day, 2 * day, 50 * day]]))
    steps = lifecycle.timelines(rows)
    for now, stage in ((31, ACTIVE), (32, DORMANT), (50, REENGAGED), (57, ACTIVE), (80, DORMANT)):
        assert steps.stage_at(np.array([now * day])).tolist() == [stage]


def test_contradictory_spans_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="below lost_days"):
        config_loader.load(environment={}, overrides=("lifecycle.lost_days=30",))
