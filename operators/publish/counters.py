"""The counters: what was read and what came of it, over all partitions and shards, since the first
start.

Every source partition and shard counts in its own stored state, and sends its totals with each
batch; the counters add up the newest totals of each. At the end, events read = accepted + rejected
+ duplicates + suppressed + withheld. The one writer of `ps:1:meta`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from state import keys
from state.messages import CounterDeltas, ShardTotals, SourceTotals
from state.snapshots import CountersState

if TYPE_CHECKING:
    from state.messages import Arguments, ShardOutput, Write


class Counters:
    """Sums of totals. The personalization step itself counts `lists_written` and `segment_changes`."""

    def __init__(self) -> None:
        self.lists_written = 0
        self.segment_changes = 0
        self._sources: dict[str, SourceTotals] = {}
        self._shards: dict[str, ShardTotals] = {}
        self._sums = dict.fromkeys(ShardTotals.__struct_fields__, 0)
        self._last_taken = CounterDeltas()

    def update(self, output: ShardOutput) -> None:
        """Keep the newest totals of a shard and of source partitions."""
        for name, totals in output.totals.items():
            previous = self._shards.get(name)
            if previous != totals:
                self._shards[name] = totals
                self._add_to_sums(totals, previous)
        self._sources.update(output.source_totals)

    def _add_to_sums(self, totals: ShardTotals, previous: ShardTotals | None) -> None:
        """Sums are kept, not made: of 64 shards, a small batch changes a few."""
        for name in self._sums:
            before = 0 if previous is None else getattr(previous, name)
            self._sums[name] += getattr(totals, name) - before

    @property
    def accepted(self) -> int:
        """How many events were counted."""
        return self._sums["accepted"]

    @property
    def clamped_events(self) -> int:
        """Events whose clock was set back."""
        return sum(source.clamped for source in self._sources.values())

    @property
    def currency(self) -> str:
        """The currency of the shop, "" while it is not known.

        Where none is configured, partitions that are read apart may each have begun with another one.
        """
        return ",".join(
            sorted({source.currency for source in self._sources.values() if source.currency})
        )

    def total(self, name: str) -> int:
        """The sum over all shards of one of their counts."""
        return self._sums[name]

    def totals_by_name(self) -> dict[str, int | dict[str, int]]:
        """All counts by name."""
        rejected: dict[str, int] = {}
        by_type: dict[str, int] = {}
        left_out: dict[str, int] = {}
        unconverted: dict[str, int] = {}
        for source in self._sources.values():
            source_left_out = {f"{source.source} {name}": n for name, n in source.left_out.items()}
            for into, counts in (
                (rejected, source.rejected),
                (by_type, source.by_type),
                (left_out, source_left_out),
                (unconverted, source.unconverted),
            ):
                for name, count in counts.items():
                    into[name] = into.get(name, 0) + count
        shards = dict(self._sums)
        if failed := shards.pop("failed"):
            kind = "processing_error"
            rejected[kind] = rejected.get(kind, 0) + failed
        withheld = shards.pop("withheld")
        return {
            "events": sum(source.read for source in self._sources.values()),
            "rejected": dict(sorted(rejected.items())),
            "withheld": {"analytics": withheld} if withheld else {},
            "by_type": dict(sorted(by_type.items())),
            "left_out": dict(sorted(left_out.items())),
            "clamped": self.clamped_events,
            "held": sum(source.held for source in self._sources.values()),
            "shortened": sum(source.shortened for source in self._sources.values()),
            "unconverted": dict(sorted(unconverted.items())),
            **shards,
            "lists_written": self.lists_written,
            "segment_changes": self.segment_changes,
        }

    def take_deltas(self) -> CounterDeltas:
        """By how much the counts grew since the last call, or since they were restored."""
        previous, self._last_taken = self._last_taken, self._flat_totals()
        current = self._last_taken
        return CounterDeltas(
            _deltas(previous.sums, current.sums),
            _deltas(previous.rejected, current.rejected),
            _deltas(previous.by_type, current.by_type),
            _deltas(previous.left_out, current.left_out),
            _deltas(previous.unconverted, current.unconverted),
            _deltas(previous.withheld, current.withheld),
        )

    def _flat_totals(self) -> CounterDeltas:
        counted = CounterDeltas()
        for name, value in self.totals_by_name().items():
            if isinstance(value, int):
                counted.sums[name] = value
            else:
                setattr(counted, name, value)
        return counted

    def meta_write(self, watermark_ms: int, items: int) -> Write:
        """The command that writes the counts to the meta HASH; counts by name as JSON."""
        fields: Arguments = ("HSET", keys.meta_key(), "contract", keys.CONTRACT_VERSION)
        fields += (
            "writer_version",
            keys.WRITER_VERSION,
            "watermark_ms",
            watermark_ms,
            "items",
            items,
        )
        for name, value in self.totals_by_name().items():
            text = orjson.dumps(value).decode() if isinstance(value, dict) else value
            fields += (name, text)
        return fields

    def state(self) -> CountersState:
        """The state to be stored."""
        return CountersState(self._sources, self._shards, self.lists_written, self.segment_changes)

    @classmethod
    def from_state(cls, state: CountersState) -> Counters:
        """The counters that `state` returned."""
        ledger = cls()
        ledger.lists_written = state.lists_written
        ledger.segment_changes = state.segment_changes
        ledger._sources = state.sources
        ledger._shards = state.shards
        for totals in state.shards.values():
            ledger._add_to_sums(totals, None)
        ledger._last_taken = ledger._flat_totals()
        return ledger


def _deltas(previous: dict[str, int], current: dict[str, int]) -> dict[str, int]:
    return {name: count - previous.get(name, 0) for name, count in current.items()}
