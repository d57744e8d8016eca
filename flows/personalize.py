"""The main sentence: a clickstream into profiles, segments and lists.

Step ids and the flow id are stored names: a renamed one silently restarts its state from empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from flows.process.privacy_key import privacy_key
from flows.stateful import keyed
from operators.personalize.step import Learning
from operators.segments.changes import changes_among
from operators.segments.rules.compiler import rule_segments
from operators.shards.batching import joined
from operators.shards.processor import Rules
from operators.shards.sharding import DeviceShard, UserShard, regroup
from state.dead_letters import Forgotten

if TYPE_CHECKING:
    from bytewax.inputs import Source
    from bytewax.operators import KeyedStream
    from bytewax.outputs import Sink

    from operators.segments.changes import Before, ChangeFields
    from operators.shards.cold_tier import Archive
    from state.config import Settings
    from state.dead_letters import Letters
    from state.journal import Journals
    from state.messages import Group, Output, Part, Regrouped, SourceBatch, Visited

FLOW_ID = "personalize"
LEARN_KEY = "all"


def build(
    events: Source[SourceBatch],
    redis: Sink[tuple[str, Output]],
    dead_letters: Sink[tuple[str, Letters]],
    settings: Settings,
    journals: Journals | None,
    changes: Sink[tuple[str, list[ChangeFields]]] | None = None,
    *,
    before: Before | None = None,
    archive: Archive | None = None,
) -> Dataflow:
    """events -> visit_devices -> visit_users -> learn -> redis, with dead letters on the side.

    `journals` are those of the recovery folder that keeps the snapshots, if one does; `changes` takes
    what goes into the change stream too. `before` says, in a live run, what former runs left in Redis.
    Shoppers that are too many for memory wait in the `archive`, which reads what goes to `redis`;
    without one, all stay.
    """
    shards = settings.sessions.shards
    rules = Rules.of(
        settings.sessions,
        settings.profiles,
        settings.state,
        settings.lifecycle,
        rule_segments(settings),
        settings.propensity,
        privacy=settings.privacy,
        recovery=settings.recovery,
        privacy_key=privacy_key(),
    )

    def by_user(arrived: list[tuple[str, Visited]]) -> list[tuple[str, Regrouped]]:
        dealt = regroup((visited for _, visited in arrived), shards)
        return [(str(message.shard), message) for message in dealt]

    flow = Dataflow(FLOW_ID)
    batches = op.input("events", flow, events)
    groups = op.flat_map_batch("by_device", batches, _groups)
    devices = keyed(
        "visit_devices", groups, lambda blob: DeviceShard(rules, blob, journals, archive), journals
    )
    regrouped = op.flat_map_batch("by_user", devices, by_user)
    users = keyed(
        "visit_users", regrouped, lambda blob: UserShard(rules, blob, journals, archive), journals
    )
    together = op.map("together", users, _together)
    learned = keyed(
        "learn", together, lambda blob: Learning(settings, blob, journals, before=before), journals
    )
    op.output("redis", learned, redis)
    if changes is not None:
        op.output("changes", op.filter_map("changed", learned, _changed), changes)
    rejected = op.filter_map("rejected", batches, _rejected)
    failed = op.filter_map("failed", users, _failed)
    forgotten = op.filter_map("forgotten", learned, _forgotten)
    letters: KeyedStream[Letters] = op.merge("set_aside", rejected, failed, forgotten)
    op.output("dead_letters", letters, dead_letters)
    return flow


def _groups(batches: list[SourceBatch]) -> list[tuple[str, Group]]:
    return [(str(group.shard), group) for group in joined(batches)]


def _together(part: tuple[str, Part]) -> tuple[str, Part]:
    return LEARN_KEY, part[1]


def _changed(learned: tuple[str, Output]) -> tuple[str, list[ChangeFields]] | None:
    changes = changes_among(learned[1].writes)
    return (LEARN_KEY, changes) if changes else None


def _rejected(batch: SourceBatch) -> tuple[str, Letters] | None:
    return (LEARN_KEY, [*batch.rejected]) if batch.rejected else None


def _forgotten(learned: tuple[str, Output]) -> tuple[str, Letters] | None:
    erased = learned[1].erased
    return (LEARN_KEY, [Forgotten(name) for name in erased]) if erased else None


def _failed(part: tuple[str, Part]) -> tuple[str, Letters] | None:
    letters: Letters = [letter for visited in part[1].visited for letter in visited.failed]
    return (LEARN_KEY, letters) if letters else None


def __getattr__(name: str) -> Dataflow:
    """`flow`, for `python -m bytewax.run flows.personalize:flow`."""
    if name != "flow":
        raise AttributeError(name)
    from flows.commands.bytewax_run import flow_for_bytewax  # which needs this module

    return flow_for_bytewax()
