"""The models of what shoppers will do, fed by the real fold of events, and a naive recount."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.readers.registry import READERS
from operators.segments.propensity.propensity import PropensityModels
from operators.shards.batching import SourceBatcher
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from operators.shoppers import amounts
from operators.shoppers.features import LAST_MS_COLUMN, feature_rows
from state.arrays import NO_ROW
from state.config import Lifecycle, Profiles, Sessions, State
from state.events import Event
from state.interactions import RowIndex
from state.money import MICROS_PER_UNIT
from state.times import DAY_MS
from tests.shared import shared_data
from tests.streams import LATENESS_MS, SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from state import config
    from state.entries import Transition
    from state.messages import ShardOutput

IDLE_MS = State().idle_days * DAY_MS
KNOWN_IDLE_MS = State().known_idle_days * DAY_MS


class Followed:
    """The models, and who is in which segment, batch by batch. `names` are shoppers by row."""

    def __init__(self, settings: config.Propensity) -> None:
        self.propensity = PropensityModels(settings)
        self.shoppers = RowIndex()
        self.members: set[tuple[str, str]] = set()
        self.known: list[bool] = []
        self.watermark_ms = 0

    @property
    def names(self) -> list[str]:
        """Of all shoppers, by row."""
        return self.shoppers.ids

    def take(self, visited: list[ShardOutput]) -> None:
        """Learn one batch as the learning step does."""
        propensity = self.propensity
        self.watermark_ms = max(one.watermark_ms for one in visited)
        propensity.observe_batch(visited, self.names, self._idle_ms, self.watermark_ms)
        for one in visited:
            for gone in one.merged:
                name = gone.anonymous_id
                self._end(name, erased=not gone.shopper)
            for name, _ in one.erased:
                self._end(name, erased=True)
        active = list({one.shopper: one for v in visited for one in v.active}.values())
        if active:
            raw = feature_rows(one.features for one in active)
            names = [one.shopper for one in active]
            rows, at_ms = (
                self.shoppers.get_or_add_many(names),
                raw[:, LAST_MS_COLUMN].astype(np.int64),
            )
            self.known += [False] * (len(self.names) - len(self.known))
            for row, told in zip(rows.tolist(), active, strict=True):
                self.known[row] = told.known
            propensity.update_features(rows, raw)
            self._move(propensity.assign_active(names, rows, propensity.score(rows, raw), at_ms))
        clock_ms = self.watermark_ms and self.watermark_ms + LATENESS_MS
        last = any(one.last for one in visited)
        self._move(propensity.advance(self.names, clock_ms, last=last))

    def _end(self, name: str, *, erased: bool) -> None:
        row = self.shoppers.get(name)
        if erased:
            self.propensity.erase(name)
        if row != NO_ROW:
            self.propensity.merge(row, NO_ROW)

    def chances(self) -> tuple[list[str], NDArray[np.float64]]:
        """Shoppers in memory, and what is said of them now: to buy, to stay away, worth, [3, n]."""
        latest = self.propensity._features
        rows = latest.live_rows()
        said = self.propensity.weekly.predict(latest.points(rows, self.watermark_ms + LATENESS_MS))
        return [self.names[row] for row in rows.tolist()], np.stack(said)

    def of(self, segment: str) -> set[str]:
        """Who is in a segment."""
        return {name for name, other in self.members if other == segment}

    def _idle_ms(self) -> NDArray[np.int64]:
        known = np.array(self.known[: len(self.names)], np.bool_)
        return np.where(known, KNOWN_IDLE_MS, IDLE_MS)

    def _move(self, transitions: Iterable[Transition]) -> None:
        for one in transitions:
            member = (one.shopper, one.segment)
            assert (member in self.members) != one.entered
            self.members ^= {member}


def batches(
    events: Iterable[Event], settings: config.Propensity, size: int
) -> Iterator[list[ShardOutput]]:
    """What all shards make of events in batches of a size; an empty one ends them."""
    rules = ProcessorConfig.from_config(
        Sessions(shards=SHARDS), Profiles(), State(), Lifecycle(), propensity=settings
    )
    clock, rest = SourceBatcher(), iter(events)
    devices = [DeviceShard(rules) for _ in range(SHARDS)]
    users = [UserShard(rules) for _ in range(SHARDS)]
    last = False
    while not last:
        some = list(islice(rest, size))
        last = not some
        batch = clock.batch(
            some, partition="shop", shards=SHARDS, allowed_lateness_ms=LATENESS_MS, last=last
        )
        told = [one for group in batch.shard_inputs for one in devices[group.shard].process(group)]
        parts = [part for m in regroup(told, SHARDS) for part in users[m.shard].process(m)]
        yield [visited for part in parts for visited in part.outputs]


def followed(events: Iterable[Event], settings: config.Propensity, size: int = 100) -> Followed:
    """The models after events that came in batches of a size."""
    found = Followed(settings)
    for visited in batches(events, settings, size):
        found.take(visited)
    return found


def log(name: str, form: str) -> list[Event]:
    """The events of a real log, up to where its file is damaged."""
    path = shared_data(name)
    lines: list[bytes] = []
    with gzip.open(path) as file, suppress(EOFError, zlib.error):
        lines += iter(file)
    records = READERS[form](lines, source=path.name, now_ms=2_000_000_000_000)
    return [one for one in records if isinstance(one, Event)]


class Outcome(NamedTuple):
    """What one shopper did after a time: whether it bought, whether it stayed away, what it spent."""

    bought: bool
    stayed_away: bool
    spent: float


class Recount:
    """What shoppers did, in plain loops over all events of each: by user, else by device."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.of: dict[str, list[Event]] = {}
        for event in events:
            self.of.setdefault(event.user_id or event.anonymous_id or "", []).append(event)

    def known(self, at_ms: int) -> list[str]:
        """Who had been seen by then."""
        return [
            name for name, events in self.of.items() if any(one.event_ts <= at_ms for one in events)
        ]

    def after(self, name: str, at_ms: int, settings: config.Propensity) -> Outcome:
        """What a shopper did within the horizon, and whether it came within the days of churn."""
        horizon_ms, churn_ms = settings.horizon_days * DAY_MS, settings.churn_days * DAY_MS
        later = [one for one in self.of[name] if one.event_ts > at_ms]
        orders = [
            one for one in later if one.type == "purchase" and one.event_ts <= at_ms + horizon_ms
        ]
        spent = sum(amounts.value_micros(one) for one in orders) / MICROS_PER_UNIT
        came = any(one.event_ts <= at_ms + churn_ms for one in later)
        return Outcome(bool(orders), not came, spent)
