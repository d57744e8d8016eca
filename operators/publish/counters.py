"""The ledger: what went in and what came out, over all partitions and shards, since the first start.

Every part of the flow counts in its own stored state and tells its sums with each batch; the ledger
adds up what it last heard from each. In the end events read = accepted + rejected + duplicates +
suppressed + withheld.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from state import keys
from state.messages import Counted, SourceTotals, Totals
from state.snapshots import LedgerState

if TYPE_CHECKING:
    from state.messages import Arguments, Visited, Write


class Ledger:
    """Sums of sums. `lists_written` and `segment_changes` are counted by the learning step itself."""

    def __init__(self) -> None:
        self.lists_written = 0
        self.segment_changes = 0
        self._sources: dict[str, SourceTotals] = {}
        self._shards: dict[str, Totals] = {}
        self._told = Counted()

    def hear(self, visited: Visited) -> None:
        """Note the newest sums of a shard and of a source partition."""
        for name, totals in visited.totals.items():
            # Batches of two partitions may have come to a shard in another order than they come here.
            before = self._shards.get(name)
            if before is None or _progress(before) <= _progress(totals):
                self._shards[name] = totals
        self._sources.update(visited.sources)

    @property
    def accepted(self) -> int:
        """How many events were counted."""
        return sum(totals.accepted for totals in self._shards.values())

    @property
    def clamped_clocks(self) -> int:
        """Events whose clock was set back."""
        return sum(source.clamped for source in self._sources.values())

    @property
    def currency(self) -> str:
        """The currency of the shop, "" while nobody has named any.

        Where none is configured, partitions that are read apart may each have begun with another one.
        """
        return ",".join(sorted({one.currency for one in self._sources.values() if one.currency}))

    def sum_of(self, name: str) -> int:
        """One of the counts of shards."""
        return sum(getattr(totals, name) for totals in self._shards.values())

    def figures(self) -> dict[str, int | dict[str, int]]:
        """All counts by name."""
        rejected: dict[str, int] = {}
        by_type: dict[str, int] = {}
        left_out: dict[str, int] = {}
        unconverted: dict[str, int] = {}
        for source in self._sources.values():
            of_source = {f"{source.source} {name}": n for name, n in source.left_out.items()}
            for into, counts in (
                (rejected, source.rejected),
                (by_type, source.by_type),
                (left_out, of_source),
                (unconverted, source.unconverted),
            ):
                for name, count in counts.items():
                    into[name] = into.get(name, 0) + count
        shards = {
            name: sum(getattr(totals, name) for totals in self._shards.values())
            for name in Totals.__struct_fields__
        }
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
            "clamped": self.clamped_clocks,
            "held": sum(source.held for source in self._sources.values()),
            "shortened": sum(source.shortened for source in self._sources.values()),
            "unconverted": dict(sorted(unconverted.items())),
            **shards,
            "lists_written": self.lists_written,
            "segment_changes": self.segment_changes,
        }

    def growth(self) -> Counted:
        """By how much the counts grew since this was asked last, or since they were restored."""
        before, self._told = self._told, self._counted()
        now = self._told
        return Counted(
            _growth(before.sums, now.sums),
            _growth(before.rejected, now.rejected),
            _growth(before.by_type, now.by_type),
            _growth(before.left_out, now.left_out),
            _growth(before.unconverted, now.unconverted),
            _growth(before.withheld, now.withheld),
        )

    def _counted(self) -> Counted:
        counted = Counted()
        for name, value in self.figures().items():
            if isinstance(value, int):
                counted.sums[name] = value
            else:
                setattr(counted, name, value)
        return counted

    def write(self, watermark_ms: int, items: int) -> Write:
        """The figures as fields of the meta HASH; counts by name as JSON."""
        fields: Arguments = ("HSET", keys.meta_key(), "contract", keys.CONTRACT)
        fields += (
            "writer_version",
            keys.WRITER_VERSION,
            "watermark_ms",
            watermark_ms,
            "items",
            items,
        )
        for name, value in self.figures().items():
            text = orjson.dumps(value).decode() if isinstance(value, dict) else value
            fields += (name, text)
        return fields

    def state(self) -> LedgerState:
        """What is stored."""
        return LedgerState(self._sources, self._shards, self.lists_written, self.segment_changes)

    @classmethod
    def of(cls, state: LedgerState) -> Ledger:
        """The ledger that `state` gave."""
        ledger = cls()
        ledger.lists_written = state.lists_written
        ledger.segment_changes = state.segment_changes
        ledger._sources = state.sources
        ledger._shards = state.shards
        ledger._told = ledger._counted()
        return ledger


def _progress(totals: Totals) -> tuple[int, int]:
    """What of a shard's sums only grows, and with each batch that did anything."""
    counted = totals.accepted + totals.duplicates + totals.failed + totals.suppressed
    counted += totals.withheld
    return counted, totals.sessions_closed


def _growth(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {name: count - before.get(name, 0) for name, count in now.items()}
