"""What travels between the steps of the flow: one message a shard and batch, not one an event.

Never stored (an epoch is complete before its snapshot), so these may change freely. Bytewax pickles
what goes to another process: a `Message` is then its MessagePack, which takes half the time to make,
so every field must be typed as msgspec decodes it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from state.dead_letters import DeadLetter
from state.events import Event, Item
from state.shopper import Shopper

Arguments = tuple[str | int | float, ...]
Write = Arguments | bytes
"""A Redis command for `state.store`: its arguments, or one that `state.resp` packed already."""


class Message(msgspec.Struct, array_like=True, gc=False):
    """What a keyed step is sent."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (type(self).__name__, _pack(self))


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An entry of a message. `position` is that of its event in the batch; times are in ms."""


class UserMention(Entry, frozen=True):
    """An event of a device names a user whom another shard may keep, under this watermark."""

    position: int
    user_id: str
    at_ms: int
    watermark_ms: int


class Interaction(Entry, frozen=True):
    """One item of an event that shows interest. `category` is one name (`shoes/running`); it and
    `country` are "" where unknown."""

    position: int
    shopper: str
    item: str
    event_type: str
    at_ms: int
    session_start_ms: int
    category: str
    country: str


class LimitedInteraction(Entry, frozen=True):
    """An interaction of a shopper who refuses some purposes, as bits."""

    refused: int
    interaction: Interaction


class ConsentWithdrawal(Entry, frozen=True):
    """A shopper withdraws consent for purposes, as bits, and goes on being counted."""

    shopper: str
    purposes: int
    at_ms: int


class Feedback(Entry, frozen=True):
    """One item of an event that says what came of a list or an order. `list_position` is the item's
    position in the list that it was shown in, from 0."""

    position: int
    shopper: str
    item: str
    event_type: str
    at_ms: int
    list_position: int


class ItemUpdate(Entry, frozen=True):
    """What an event or the catalogue says of an item; the currency is "" where it does not say it."""

    at_ms: int
    item: Item
    currency: str


class ForwardedEvent(Entry, frozen=True):
    """An event of a user whom another shard keeps. `watermark_ms` stood when it came; `offset` is that
    of its record, -1 if unknown."""

    position: int
    shopper: str
    event: Event
    watermark_ms: int
    offset: int


class ActiveShopper(Entry, frozen=True):
    """A shopper that was active, once a batch.

    `known` is whether it is a user, `refused` are purposes as bits, `features` is its feature row
    (`operators.shoppers.features`). `profile` is the command that writes its profile, packed but for its
    head, and `argument_count` the number of arguments in it.
    """

    shopper: str
    known: bool
    refused: int
    features: bytes
    profile: str
    argument_count: int


class Transition(Entry, frozen=True):
    """A shopper entered a segment or left it."""

    shopper: str
    segment: str
    entered: bool
    at_ms: int


class PlacedOrder(Entry, frozen=True):
    """An order of a shopper and its value in millionths."""

    shopper: str
    value_micros: int
    at_ms: int


class MergedShopper(Entry, frozen=True):
    """An anonymous shopper turned out to be the user `shopper`."""

    anonymous_id: str
    shopper: str
    at_ms: int


class NewAlias(Entry, frozen=True):
    """Redis was told that a device is this user's."""

    position: int
    user_id: str
    device: str


class BatchId(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Which batch of which source partition, how far that had come before it, whether it ends it.

    `origin` is what dead letters say of its events: source and partition; `first` the position of its
    first record where it was joined to others.
    `partitions` is how many the source has. An `idle` one, of which nothing has come for a while, does
    not hold the others back. Of a `live` one the time at which records came decided what is in it: it
    may be folded and learned in one go with others, and the first of them speaks for those `joined`
    too. Time in ms.
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
    """What a source partition has read since the first start.

    `clamped`: events whose clock was so far ahead that it was set back; `held`: events too far ahead of
    those after them to move the watermark; `shortened`: events with more items than count; `left_out`:
    how often a field could not be read, by its name in the records of `source`. `currency` is the
    shop's, as far as it is known; `unconverted` events by the currency of their amounts, which has no
    rate. Stored: what is not there is as by default.
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
    """The events of one batch that one shard is to fold, without their `props`: no step reads them.

    `position` is each event's place in its batch; `watermarks_ms` is the watermark that stood when
    it came
    (ms): an event older than that is late. The first group of a batch speaks for all of it: `totals`
    by partition, and `received_ms`, 8 bytes a place in the batch, when the event was received, 0 for
    what is none. `offsets` is that of each event's record, empty where they have none.
    `user_mentions` are users
    of this shard's ids whom events of other devices name. The erasure of a user is in every group, since
    any shard may keep a link to it: `erased` are those users.
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


class SourceBatch(msgspec.Struct):
    """What a source read at once: a group for every shard, and what it could not use."""

    shard_inputs: list[DeviceShardInput]
    rejected: list[DeadLetter]


class StateTransfer(msgspec.Struct, array_like=True):
    """An anonymous shopper's whole state on its way to the user it turned out to be.

    With it goes, as the user's, what the batch tells of it.
    The user may be called the same: the shopper then only moves. `position` is that of the event that
    told, -1 where none did. `transitions` are its own, of this batch.
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
    """What one shard has counted since the first start.

    `evicted` are rows and links that were put away, `returned` those that came back; they change no
    other sum. `saturated` are events after which a sum of their shopper stands at the largest amount
    there is (`state.money`). `repeats` are events and orders that two shoppers had both counted when
    they turned out to be one: they count once since. `failed` are those that a step could not process:
    they are rejected. `suppressed` are events from before an erasure that came after it: they count as
    nothing. `withheld` are events of shoppers who refuse analytics.
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
    """What the models of the weeks to come hear of a shopper at an event. Times in ms.

    `known_ms` is the time of the event, or the watermark that stood when it came where that is later.
    `value_micros` is of an order in millionths, below 0 where one is taken back; `merged_into` is
    who it turned out
    to be. `features_before` is its feature row as it was until then, where a time to decide may
    lie in between:
    it stands for those before `features_until_ms`. Without a row the shopper was not known by then.
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

    `forwarded_events` and `state_transfers` go on to the shard of the user, in this batch.
    `item_updates` is what it
    heard of items, `orders` are (shopper, worth in millionths, time), `merged` (anonymous id, user,
    time), `erased` (shopper, time); times in ms. `evicted` (shopper, time) are
    no longer in memory. `expiry_writes` are for after the profiles. `sequence` is the
    place of the batch among all, from the shard that orders them. `transitions` are those of
    segments by rule, each shopper's in order; who is no more has left all. `decisions` are decisions of
    models: the mark of the event, 8 bytes, the watermark that stood, 8 bytes, and the feature row
    after it; `session_outcomes` what came of them: when the session was over, 8 bytes, before each that
    `Session.session_outcomes` tells; `repeats` are orders as in `orders` that had been told twice.
    `failed`
    are events that raised, `error_counts` how often what did. `observations` is for the models of
    the weeks to come,
    in order. `transitions_before_merge` are transitions, as in `transitions`, of shoppers who have
    `merged` since.
    `withdrawn_decisions` are the marks of decisions that are to teach nothing.
    `limited_interactions` are clicks of shoppers who refuse purposes, `consent_withdrawals` who
    withdraws some, `new_aliases`, for
    the user's shard, what Redis is told of devices (position, user, device).
    `removal_writes` are of keys of whoever is no more, before the `writes` of any shard in this batch.
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
    sequence: int | None = None
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


class UserShardInput(Message):
    """What one shard of users is to fold of a batch, and what the devices' shard made of it.

    `device_shards` is how many of all `device_shards_total` of devices this speaks for: a batch is
    whole when all have
    spoken to all. `sequence` is the place of the batch among all, where this speaks for the shard that
    orders them.
    """

    batch: BatchId
    shard: int
    device_shards: int
    device_shards_total: int
    forwarded_events: list[ForwardedEvent]
    state_transfers: list[StateTransfer]
    device_outputs: list[ShardOutput]
    sequence: int | None = None
    new_aliases: list[NewAlias] = []


class ShardPart(Message):
    """One shard's share of a batch, ready to learn from."""

    batch: BatchId
    shard: int
    device_shards: int
    outputs: list[ShardOutput]


class CounterDeltas(msgspec.Struct, array_like=True, gc=False):
    """By how much the ledger's counts grew."""

    sums: dict[str, int] = {}
    rejected: dict[str, int] = {}
    by_type: dict[str, int] = {}
    left_out: dict[str, int] = {}
    unconverted: dict[str, int] = {}
    withheld: dict[str, int] = {}


class OnlineMetrics(msgspec.Struct, array_like=True, gc=False):
    """Lists held against the next click: how many, hits, 1/rank of those added up.

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
_DECODE = {
    kind.__name__: msgspec.msgpack.Decoder(kind).decode
    for kind in (DeviceShardInput, ShardOutput, UserShardInput, ShardPart, BatchOutput)
}


def _unpack(kind: str, packed: bytes) -> Message:
    return _DECODE[kind](packed)
