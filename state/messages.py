"""The messages between the steps of the flow: one per shard and batch, not one per event.

Never stored (an epoch is complete before its snapshot), so they may change freely: both ends of a
message are of one release. Bytewax pickles what goes to another process: a `Message` is then its
MessagePack, which takes half the time to make. So every field must be typed as msgspec decodes it.
Only the totals are stored too, by name.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from state.dead_letters import DeadLetter
from state.entries import (
    ActiveShopper,
    ConsentWithdrawal,
    Feedback,
    ForwardedEvent,
    Interaction,
    ItemUpdate,
    LimitedInteraction,
    MergedShopper,
    NewAlias,
    PlacedOrder,
    Transition,
    UserMention,
)
from state.events import Event
from state.kpis import CountedEvent
from state.shopper import Shopper

Arguments = tuple[str | int | float, ...]
Write = Arguments | bytes
"""A Redis command for `state.store`: its arguments, or one that `state.resp` packed already."""


class Message(msgspec.Struct, array_like=True, gc=False):
    """What a keyed step is sent."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (type(self), _pack(self))


class BatchId(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A batch of a source partition.

    `watermark_ms` is how far the partition had come before the batch, `last` whether the batch ends
    it. `partitions` is how many partitions the source has. An `idle` partition, from which nothing
    has come for a while, does not hold the others back. What is in a `live` batch was decided by
    the time at which records came: it may be processed in one go with others, and the first of them
    then has the ids of the others in `joined`. `origin` is source and partition as dead letters
    name them, `first_position` the position of its first record in a joined batch.
    """

    partition: str
    number: int
    watermark_ms: int = 0
    last: bool = False
    partitions: int = 1
    idle: bool = False
    live: bool = False
    joined: tuple[BatchId, ...] = ()
    origin: tuple[str, str] = ("", "")
    first_position: int = 0

    def origin_of(self, position: int) -> tuple[str, str]:
        """Source and partition of the record at a position.

        >>> two = BatchId("1-b", 0, origin=("b", "1"), first_position=10)
        >>> batch = BatchId("0-b", 0, joined=(two,), origin=("b", "0"))
        >>> batch.origin_of(9), batch.origin_of(10)
        (('b', '0'), ('b', '1'))
        """
        batch = [batch for batch in (self, *self.joined) if batch.first_position <= position][-1]
        return batch.origin if batch.origin[0] else (batch.partition, "0")


class SourceTotals(msgspec.Struct, omit_defaults=True):
    """What a source partition has read since the first start. Stored, by name.

    `clamped` are events whose clock was so far ahead that it was set back, `held` events too far
    ahead of those after them to move the watermark, `shortened` events with more items than count.
    `left_out` says how often a field could not be read, by its name in the records of `source`.
    `currency` is the shop's, as far as it is known; `unconverted` are events by the currency of
    their amounts, which has no rate.
    """

    read: int = 0
    rejected: dict[str, int] = {}
    by_type: dict[str, int] = {}
    clamped: int = 0
    held: int = 0
    shortened: int = 0
    left_out: dict[str, int] = {}
    source: str = ""
    currency: str = ""
    unconverted: dict[str, int] = {}


class DeviceShardInput(Message):
    """The events of one batch for one device shard, without their `props`: no step reads them.

    `positions` are the events' positions in the batch; `watermarks_ms` the watermarks under which
    they came: an event older than that is late. The first message of a batch speaks for all of it:
    `source_totals` by partition, and `received_ms`, when each event was received, 8 bytes a
    position, 0 for none. `offsets` are those of the events' records, empty where they have none.
    `user_mentions` are of users whose ids are this shard's. Every message has the `erased_users`:
    any shard may keep a link to them.
    """

    batch: BatchId
    shard: int
    events: list[Event]
    positions: list[int]
    watermarks_ms: list[int]
    source_totals: dict[str, SourceTotals] = {}
    received_ms: bytes = b""
    offsets: list[int] = []
    user_mentions: list[UserMention] = []
    erased_users: list[str] = []


class BatchTurn(Message):
    """Says that it is the turn of a batch: the one order in which all device shards process batches."""

    partition: str
    number: int


class SourceBatch(msgspec.Struct):
    """What a source read at once: a message for every device shard, and what it rejected."""

    shard_inputs: list[DeviceShardInput]
    rejected: list[DeadLetter]


class StateTransfer(msgspec.Struct, array_like=True):
    """The whole state of an anonymous shopper, on its way to the shard of the user that it turned
    out to be, with what the batch says of it, as the user's.

    Where both have the same id the shopper only moves. `position` is that of the event that identified
    it, -1 for none. `transitions` are its own, of this batch.
    """

    position: int
    anonymous_id: str
    shopper: str
    state: Shopper
    at_ms: int
    watermark_ms: int
    interactions: list[Interaction] = []
    feedback: list[Feedback] = []
    orders: list[PlacedOrder] = []
    transitions: list[Transition] = []
    limited_interactions: list[LimitedInteraction] = []


class ShardTotals(msgspec.Struct):
    """What one shard has counted since the first start. Stored, by name.

    `evicted` are rows and links that left memory, `returned` those that were reloaded; they change
    no other count. `saturated` are events after which a sum of their shopper is the largest amount
    there is (`state.money`). `repeats` are events and orders that two shoppers had both counted
    when they were merged: they count once since. `failed` are events that a step could not process:
    they are rejected. `suppressed` are events from before an erasure that came later than it: they
    count as nothing. `withheld` are events of shoppers who refuse analytics.
    """

    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    shoppers: int = 0
    sessions_opened: int = 0
    sessions_closed: int = 0
    identity_conflicts: int = 0
    merges: int = 0
    erased: int = 0
    evicted: int = 0
    returned: int = 0
    saturated: int = 0
    repeats: int = 0
    failed: int = 0
    suppressed: int = 0
    withheld: int = 0


class ShopperObservation(msgspec.Struct, array_like=True, gc=False):
    """What the weekly models observe of a shopper at an event. Times in ms.

    `known_ms` is the time of the event, or the watermark under which it came where that is later.
    `value_micros` is that of an order, below 0 for one that is taken back; `merged_into` the user
    that the shopper turned out to be. `features_before` is its feature row until the event, where a
    decision time may lie in between: it stands for those before `features_until_ms`. Without a row
    the shopper was not known by then.
    """

    shopper: str
    at_ms: int
    known_ms: int
    value_micros: int | None = None
    merged_into: str = ""
    features_until_ms: int = 0
    features_before: bytes = b""


class ShardOutput(Message):
    """What one shard made of its part of a batch.

    `forwarded_events` and `state_transfers` go on to the shards of the users, in this batch.
    `erased` and `evicted` are shoppers with an event time. `transitions` are those of segments by
    rule, each shopper's in order; shoppers who were removed have left all segments.
    `transitions_before_merge` are of shoppers who were `merged` since. `decisions` are decisions of
    models: the hash of the event and the watermark, 8 bytes each, and the feature row after it;
    `session_outcomes` what came of them, each after the time at which the session ended, 8 bytes;
    those of `withdrawn_decisions` teach nothing. `double_counted_orders` had been counted for two
    shoppers who are one. `dead_letters` are of events that raised, `error_counts` how often what
    did. `sequence` is the number of the batch among all of this run, the same in every device shard.
    `counted_events` are facts of events for the key figures, if they are on; those of shoppers who are
    `merged` or `erased` too are taken back where they are counted.
    `removal_writes` come before the `writes` of any shard in this batch, `expiry_writes` after the
    profiles.
    """

    batch: BatchId
    shard: int
    watermark_ms: int
    last: bool
    active: list[ActiveShopper] = []
    interactions: list[Interaction] = []
    feedback: list[Feedback] = []
    orders: list[PlacedOrder] = []
    item_updates: list[ItemUpdate] = []
    merged: list[MergedShopper] = []
    erased: list[tuple[str, int]] = []
    evicted: list[tuple[str, int]] = []
    writes: list[Write] = []
    expiry_writes: list[Write] = []
    forwarded_events: list[ForwardedEvent] = []
    state_transfers: list[StateTransfer] = []
    totals: dict[str, ShardTotals] = {}
    source_totals: dict[str, SourceTotals] = {}
    received_ms: bytes = b""
    sequence: int = 0
    transitions: list[Transition] = []
    decisions: list[bytes] = []
    session_outcomes: list[bytes] = []
    double_counted_orders: list[PlacedOrder] = []
    dead_letters: list[DeadLetter] = []
    error_counts: dict[str, int] = {}
    observations: list[ShopperObservation] = []
    transitions_before_merge: list[Transition] = []
    withdrawn_decisions: list[bytes] = []
    limited_interactions: list[LimitedInteraction] = []
    consent_withdrawals: list[ConsentWithdrawal] = []
    new_aliases: list[NewAlias] = []
    removal_writes: list[Write] = []
    counted_events: list[CountedEvent] = []


class UserShardInput(Message):
    """A batch for one user shard, with the output of device shards.

    It brings the `parts` of so many device shards: a batch is whole when all have spoken to all.
    `sequence` is the number of the batch among all of this run.
    """

    batch: BatchId
    shard: int
    parts: int
    sequence: int
    forwarded_events: list[ForwardedEvent]
    state_transfers: list[StateTransfer]
    device_outputs: list[ShardOutput]
    new_aliases: list[NewAlias] = []


class ShardPart(Message):
    """What user shards hand on of a batch: their own output, and that of their device shards.

    It brings the `parts` of so many shards, those of one worker, in their order; `shard` is the first of
    them. A batch is whole when all shards have handed on theirs. `sequence` is the number of the batch
    among all of this run.
    """

    batch: BatchId
    shard: int
    sequence: int
    outputs: list[ShardOutput]
    parts: int = 1


class KpiEvents(Message):
    """What the step `kpis` gets of user shards' part of a batch: of so many `parts`."""

    batch: BatchId
    sequence: int
    shard: int
    watermark_ms: int
    last: bool
    events: list[CountedEvent]
    merged: list[MergedShopper]
    erased: list[tuple[str, int]]
    parts: int = 1


class CounterDeltas(msgspec.Struct, array_like=True, gc=False):
    """By how much the counters grew."""

    sums: dict[str, int] = {}
    rejected: dict[str, int] = {}
    by_type: dict[str, int] = {}
    left_out: dict[str, int] = {}
    unconverted: dict[str, int] = {}
    withheld: dict[str, int] = {}


class OnlineMetrics(msgspec.Struct, array_like=True, gc=False):
    """Lists that were compared with the next click: how many, hits, the sum of 1/rank.

    Hits by the learner that put the item there; lists and hits by segment.
    """

    lists: int = 0
    hits: int = 0
    reciprocal_rank_sum: float = 0.0
    by_learner: dict[str, int] = {}
    by_segment: dict[str, tuple[int, int]] = {}


class BatchOutput(Message):
    """The Redis commands of one batch by what they are for, and the counts that metrics report.

    The sink writes the fields in their order. `changes` are those of the change streams: they are in
    Redis before what they tell of, so a run that takes over from a crashed one knows of all that this
    one wrote. `shards` are the commands of the shards, `removals` those that follow from a crashed run
    and from merged and erased shoppers. `evictions` remove shoppers above the limits. `received_ms`
    is when the events of the batch were received, 8 bytes each, 0 for none: freshness metrics count
    from there.

    `drift_count` is how often shoppers drifted from those that the clusters were made of. `explored`
    are impressions and clicks of explored items by learner, `error_counts` how often what raised and
    was left out. Nothing may be kept of `erased_shoppers`.
    """

    changes: list[Write] = []
    shards: list[Write] = []
    removals: list[Write] = []
    profiles: list[Write] = []
    memberships: list[Write] = []
    lists: list[Write] = []
    expiries: list[Write] = []
    evictions: list[Write] = []
    aggregates: list[Write] = []
    received_ms: bytes = b""
    watermark_ms: int = 0
    counter_deltas: CounterDeltas = msgspec.field(default_factory=CounterDeltas)
    online_metrics: OnlineMetrics = msgspec.field(default_factory=OnlineMetrics)
    drift_count: int = 0
    explored: dict[str, tuple[int, int]] = {}
    error_counts: dict[str, int] = {}
    erased_shoppers: list[str] = []

    @property
    def writes(self) -> list[Write]:
        """All commands, in the order in which Redis gets them."""
        return [write for _, writes in self.visible_together() for write in writes]

    def visible_together(self) -> list[tuple[str, list[Write]]]:
        """The commands in groups that become visible together, each named as its freshness metric."""
        profile = [*self.changes, *self.shards, *self.removals, *self.profiles]
        rest = [*self.lists, *self.expiries, *self.evictions, *self.aggregates]
        return [("profile", profile), ("segments", self.memberships), ("list", rest)]


_pack = msgspec.msgpack.Encoder().encode


@cache
def _decoder(kind: type[Message]) -> msgspec.msgpack.Decoder[Message]:
    return msgspec.msgpack.Decoder(kind)


def _unpack(kind: type[Message], packed: bytes) -> Message:
    return _decoder(kind).decode(packed)
