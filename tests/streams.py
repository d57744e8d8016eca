"""Random streams of a shop, and the keyed steps without Bytewax: all shards, batch by batch.

`fold` runs batching, device shards, regrouping and user shards as `flows/dataflow.py` wires
them. Its answer is everything the shards remember, so two streams that should come to the same are
compared as a whole. `run_flow` is the real flow into a real Redis.
"""

from __future__ import annotations

import pickle
import random
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from hiredis import Reader
from hypothesis import strategies as st

from flows.runtime.replay import replay_recordings
from operators.events.currencies import CurrencyConverter
from operators.shards.batching import SourceBatcher
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.live_batches import coalesce_live
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.config import Lifecycle, Money, Profiles, Propensity, Sessions, Settings, Source, State
from state.config_deployment import Redis
from state.config_lists import Lists
from state.events import Consent, Event, Item
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from state.dead_letters import DeadLetter
    from state.events import EventType
    from state.messages import Arguments, ShardOutput, ShardPart, UserShardInput, Write
    from state.shopper import Order, Shopper

START_MS = 1_600_000_000_000
MINUTE_MS = 60_000
GAP_MS = 30 * MINUTE_MS
LATENESS_MS = 5 * MINUTE_MS
SHARDS = 4
RULES = ProcessorConfig.from_config(Sessions(shards=SHARDS), Profiles(), State(), Lifecycle())

ITEMS = tuple(
    Item(f"item {n}", category=("wear", f"kind {n % 5}"), price=[None, 9.99, 0.1, 120.0][n % 4])
    for n in range(9)
)


class Outcome(NamedTuple):
    """The rows of all shards in the end, and their outputs."""

    shoppers: dict[str, Shopper]
    links: dict[str, str]
    totals: dict[str, int]
    rejected: int
    read: int
    visited: list[ShardOutput]


def view(event_id: object, at_ms: int, anonymous_id: str | None = "ann", **more: Any) -> Event:
    """An item view; times count from `START_MS`."""
    return event("item_view", event_id, at_ms, anonymous_id, items=(ITEMS[1],), **more)


def event(
    kind: EventType,
    event_id: object,
    at_ms: int,
    anonymous_id: str | None = "ann",
    user_id: str | None = None,
    **more: Any,
) -> Event:
    """Any event; times count from `START_MS`."""
    return Event(
        str(event_id), kind, START_MS + at_ms, START_MS + at_ms, anonymous_id, user_id, **more
    )


class Flow:
    """All shards of a flow, fed with batches; `resumed` gives one that goes on from snapshots."""

    def __init__(
        self,
        snapshots: Sequence[tuple[bytes, bytes]] | None = None,
        rules: ProcessorConfig = RULES,
        money: Money | None = None,
    ) -> None:
        blobs: Sequence[tuple[bytes | None, bytes | None]]
        blobs = snapshots or [(None, None)] * SHARDS
        self.rules = rules
        self.money = money or Money()
        self.exchange = CurrencyConverter(self.money)
        self.devices = [DeviceShard(rules, blob) for blob, _ in blobs]
        self.users = [UserShard(rules, blob) for _, blob in blobs]
        self.clocks: dict[str, SourceBatcher] = {}
        self.visited: list[ShardOutput] = []
        self.parts: list[ShardPart] = []
        self.rejected = 0

    def feed(
        self,
        records: Iterable[Event],
        *,
        partition: str = "0",
        partitions: int = 1,
        last: bool = False,
        workers: int = 1,
    ) -> None:
        """One batch; of several workers each regroups its own shards and sends what it pickled."""
        self.feed_at_once(
            {partition: records}, partitions=partitions, last=last, workers=workers, live=False
        )

    def feed_at_once(
        self,
        records: Mapping[str, Iterable[Event]],
        *,
        partitions: int,
        last: bool = False,
        workers: int = 1,
        live: bool = True,
    ) -> None:
        """A batch of each of some partitions; live batches are coalesced."""
        batches = []
        for partition, of_partition in records.items():
            clock = self.clocks.setdefault(partition, SourceBatcher())
            batch = clock.batch(
                of_partition,
                partition=partition,
                shards=SHARDS,
                allowed_lateness_ms=LATENESS_MS,
                partitions=partitions,
                last=last,
                live=live,
                converter=self.exchange,
            )
            self.rejected += len(batch.rejected)
            batches.append(batch)
        arrived = [self.devices[group.shard].process(group)[0] for group in coalesce_live(batches)]
        dealt: list[UserShardInput] = []
        for worker in range(workers):
            dealt += regroup(arrived[worker::workers], SHARDS)
        if workers > 1:
            dealt = pickle.loads(pickle.dumps(dealt))
        for message in dealt:
            for part in self.users[message.shard].process(message):
                self.visited += part.outputs
                self.parts.append(part)

    def resumed(self, rules: ProcessorConfig | None = None) -> Flow:
        """Another flow that resumes from what this one would have stored; it may have other rules."""
        pairs = zip(self.devices, self.users, strict=True)
        stored = [(device.snapshot(), user.snapshot()) for device, user in pairs]
        other = Flow(stored, rules or self.rules, self.money)
        other.clocks = self.stored_clocks()
        other.visited, other.rejected, other.parts = self.visited, self.rejected, self.parts
        return other

    def stored_clocks(self) -> dict[str, SourceBatcher]:
        """What the sources would have stored."""
        return {
            name: msgspec.convert(msgspec.to_builtins(clock), SourceBatcher)
            for name, clock in self.clocks.items()
        }

    def outcome(self) -> Outcome:
        """The result of all shards."""
        shoppers: dict[str, Shopper] = {}
        shards: list[DeviceShard | UserShard] = [*self.devices, *self.users]
        for shard in shards:
            # What rules keep is compared too; it is in the rows of shoppers only while they are stored.
            shard.shoppers.attach_rule_states(shard.shoppers.rows)
            for name, shopper in shard.shoppers.rows.items():
                assert name not in shoppers
                shoppers[name] = shopper
        totals: dict[str, int] = {}
        for shard in shards:
            for name, count in msgspec.structs.asdict(shard.shoppers.totals).items():
                totals[name] = totals.get(name, 0) + count
        links = {a: user for d in self.devices for a, (user, _) in d.identity_map.links.items()}
        read = sum(clock.totals.read for clock in self.clocks.values())
        return Outcome(shoppers, links, totals, self.rejected, read, self.visited)


def fold(stream: Sequence[Event], *, batch_events: int = 4096, workers: int = 1) -> Outcome:
    """Process a whole stream with a new flow, and the last, empty batch."""
    flow = Flow()
    rest = iter(stream)
    while batch := list(islice(rest, batch_events)):
        flow.feed(batch, workers=workers)
    flow.feed([], last=True, workers=workers)
    return flow.outcome()


def facts(outcome: Outcome) -> tuple[dict[str, Any], dict[str, str], dict[str, int]]:
    """The part of an outcome that depends on the events alone.

    Left out are the order in which event ids are remembered, and counts of evictions.
    """
    shoppers = {}
    for name, shopper in outcome.shoppers.items():
        fields = msgspec.structs.asdict(shopper)
        seen, seen_at = fields["recent_event_hashes"], fields.pop("recent_event_details")
        fields["recent_event_hashes"] = {
            (seen[n : n + 8], seen_at[n : n + 8]) for n in range(0, len(seen), 8)
        }
        fields["orders"] = {mark: order_facts(order) for mark, order in shopper.orders.items()}
        fields["open_sessions"] = sorted(
            msgspec.structs.astuple(session) for session in shopper.open_sessions
        )
        shoppers[name] = fields
    totals = outcome.totals | {"evicted": 0, "returned": 0}
    return shoppers, outcome.links, totals


def order_facts(order: Order) -> tuple[Any, ...]:
    """What is remembered of an order, but for the order in which its refunds came."""
    fields = msgspec.structs.asdict(order)
    refunds = fields.pop("refunds")
    return *fields.values(), sorted(refunds[n : n + 16] for n in range(0, len(refunds), 16))


def shuffled_within(stream: Sequence[Event], most_ms: int, seed: int) -> list[Event]:
    """The stream in an order of arrival in which no event waits longer than `most_ms`."""
    rng = random.Random(seed)
    return sorted(stream, key=lambda e: (e.event_ts + rng.random() * most_ms, e.event_id))


KINDS: tuple[EventType, ...] = (
    "page_view",
    "search",
    "item_view",
    "cart_add",
    "cart_remove",
    "checkout_start",
    "purchase",
    "refund",
    "wishlist_add",
    "consent",
)


@st.composite
def streams(
    draw: st.DrawFn,
    *,
    devices: int = 3,
    users: int = 2,
    max_events: int = 40,
    step_ms: int = 40 * MINUTE_MS,
    orders_repeat: bool = False,
    settled: bool = True,
) -> list[Event]:
    """Events in time order, up to `step_ms` apart, many of them at the edges that matter.

    A device is of one user for good (or of nobody), so that no order can lead to a conflict; unless
    not `settled`: then users share devices, and some shoppers are erased.
    """
    edges = [0, 1, LATENESS_MS, GAP_MS - 1, GAP_MS, GAP_MS + 1]
    steps = st.one_of(
        st.integers(0, min(step_ms, 3 * MINUTE_MS)),
        st.integers(0, step_ms),
        st.sampled_from([edge for edge in edges if edge <= step_ms]),
    )
    owners = [f"user {n % users}" if users and n else None for n in range(devices)]
    at_ms, stream = 0, []
    for number in range(draw(st.integers(1, max_events))):
        at_ms += draw(steps)
        device = draw(st.integers(0, devices - 1))
        kind = draw(st.sampled_from(KINDS if settled else (*KINDS, "erase")))
        owner = owners[device] if settled else draw(st.sampled_from(["user 0", "user 1"]))
        who = draw(st.sampled_from(["device", "both", "user"])) if owner else "device"
        more: dict[str, Any] = {}
        if kind not in ("page_view", "search", "checkout_start", "consent", "erase"):
            picked = draw(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3))
            more["items"] = tuple(picked)
        if kind in ("purchase", "refund"):
            order = draw(st.integers(0, 3)) if orders_repeat else number
            more["order_id"] = f"order {order} of {owner or device}"
        if kind == "consent":
            # Who refuses analytics is not counted: that is for the tests of consent.
            answers = st.sampled_from([True, False, None])
            counted = st.sampled_from([True, None])
            more["consent"] = Consent(draw(counted), draw(answers), draw(answers))
        stream.append(
            event(
                "identify" if who == "both" and draw(st.booleans()) else kind,
                number,
                at_ms,
                None if who == "user" else f"device {device + 3}",
                None if who == "device" else owner,
                **more,
            )
        )
    return stream


def arguments(write: Write) -> Arguments:
    """The arguments of a command; of a packed one as texts."""
    if isinstance(write, tuple):
        return write
    reader = Reader()
    reader.feed(write)
    taken = tuple(argument.decode() for argument in reader.gets())
    assert reader.gets() is False, "a command and nothing more"
    return taken


def flow_settings(**more: Any) -> Settings:
    """Settings with few shards; clusters, models and lists start early and are written often."""
    source = Source(batch_events=more.pop("batch_events", 100), epoch_ms=more.pop("epoch_ms", 1))
    return Settings(
        source=source,
        sessions=Sessions(shards=SHARDS),
        lists=Lists(figures_every_ms=60_000),
        propensity=Propensity(sampled_share=0.5, labels_min=5),
        redis=Redis(timeout_ms=2000, patience_s=30),
        **more,
    )


def run_flow(
    events: Sequence[Event | DeadLetter],
    redis_url: str,
    folder: Path,
    *,
    settings: Settings | None = None,
    recovery_folder: Path | None = None,
) -> dict[str, Any]:
    """The whole flow over one recording with one worker, and all that Redis holds then."""
    replay_recordings(
        {"shop": lambda: iter(events)},
        settings or flow_settings(),
        redis_url=redis_url,
        dead_letters=folder / "dead_letters.jsonl",
        recovery_folder=recovery_folder,
    )
    return content(redis_url)


def content(redis_url: str) -> dict[str, Any]:
    """All keys of the contract with their values."""
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    rows = dict(store.rows())
    store.close()
    return rows
