"""Merges the stored shards of a recovery folder into fewer: those whose number is the same modulo them.

A name's shard is its hash modulo their number. Where the new number divides the old one, each old shard
is part of one new shard.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from state.errors import RecoveryError
from state.messages import ShardTotals
from state.snapshots import (
    SHARD_RECORD_CODEC,
    DevicesState,
    ShardRecord,
    ShardRulesState,
    UsersState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from state.journal import Journals
    from state.journal_files import JournalPosition

S = TypeVar("S", DevicesState, UsersState)
V = TypeVar("V")
_ROWS_PER_RECORD = 1000


def merge_shards(states: Sequence[S], loaded: Sequence[ShardRecord]) -> tuple[S, ShardRecord]:
    """The state of one shard that keeps what these kept, without its rows, and its rows.

    Raises RecoveryError where shoppers of the shards are in Redis under different runs.
    """
    runs = {state.lineage for state in states}
    if len(runs) > 1 and any(state.totals.evicted for state in states):
        raise RecoveryError(
            "shards of this recovery folder keep evicted shoppers in Redis under runs of their own: "
            "set sessions.shards to their number, or start from an empty recovery folder"
        )
    first = states[0]
    merged = msgspec.structs.replace(
        first,
        watermarks=_merged_watermarks([state.watermarks for state in states]),
        totals=sum_totals([state.totals for state in states]),
        journal=None,
        gone=_union(state.gone for state in states),
        rules=_merged_rules([state.rules for state in states]),
        is_unclean=any(state.is_unclean for state in states),
        rows={},
        erased={},
    )
    if isinstance(merged, DevicesState):
        merged.links, merged.known = {}, {}
        undecided = [state.undecided_from_ms for state in states if isinstance(state, DevicesState)]
        known_ms = [at_ms for at_ms in undecided if at_ms is not None]
        merged.undecided_from_ms = max(known_ms) if len(known_ms) == len(undecided) else None
    erased: dict[bytes, int] = {}
    for one in loaded:
        for id_hash, at_ms in one.erased.items():
            erased[id_hash] = max(at_ms, erased.get(id_hash, 0))
    rows = ShardRecord(erased=erased)
    for one in loaded:
        rows.rows |= one.rows
        rows.links |= one.links
        rows.known |= one.known
    return merged, rows


def store_rows(journals: Journals, name: str, content: ShardRecord) -> JournalPosition:
    """Write the rows of a shard as the base of a new journal."""
    return journals.new(name).compact(_records(content))


def sum_totals(totals: Iterable[ShardTotals]) -> ShardTotals:
    """The totals of several shards together."""
    merged = ShardTotals()
    for one in totals:
        for name in ShardTotals.__struct_fields__:
            setattr(merged, name, getattr(merged, name) + getattr(one, name))
    return merged


def regroup_totals(by_shard: Mapping[str, ShardTotals], shards: int) -> dict[str, ShardTotals]:
    """Totals by kind and number of a shard (`users:17`), for fewer shards."""
    grouped: dict[str, list[ShardTotals]] = {}
    for name, totals in by_shard.items():
        kind, _, number = name.partition(":")
        grouped.setdefault(f"{kind}:{int(number) % shards}", []).append(totals)
    return {name: sum_totals(totals) for name, totals in grouped.items()}


def _records(content: ShardRecord) -> Iterator[bytes]:
    if content.erased:
        yield SHARD_RECORD_CODEC.encode(ShardRecord(erased=content.erased))
    rows, links = iter(content.rows.items()), iter(content.links.items())
    known = iter(content.known.items())
    while chunk := dict(islice(rows, _ROWS_PER_RECORD)):
        yield SHARD_RECORD_CODEC.encode(ShardRecord(rows=chunk))
    while link_chunk := dict(islice(links, _ROWS_PER_RECORD)):
        yield SHARD_RECORD_CODEC.encode(ShardRecord(links=link_chunk))
    while known_chunk := dict(islice(known, _ROWS_PER_RECORD)):
        yield SHARD_RECORD_CODEC.encode(ShardRecord(known=known_chunk))


def _union(dicts: Iterable[Mapping[str, V]]) -> dict[str, V]:
    merged: dict[str, V] = {}
    for one in dicts:
        merged |= one
    return merged


def _merged_watermarks(
    watermarks: Sequence[dict[str, tuple[int, bool]]],
) -> dict[str, tuple[int, bool]]:
    """The watermark of each source partition. Shards may have heard of partitions in another order."""
    return {
        partition: (
            max(one[partition][0] for one in watermarks if partition in one),
            all(one[partition][1] for one in watermarks if partition in one),
        )
        for partition in _union(watermarks)
    }


def _merged_rules(rules: Sequence[ShardRulesState]) -> ShardRulesState:
    """A window has every event from the latest time on, and as many entries as the shortest."""
    windows: dict[int, tuple[int, int]] = {}
    for one in rules:
        for digest, (from_ms, entries) in one.windows.items():
            known_from_ms, known_entries = windows.get(digest, (from_ms, entries))
            windows[digest] = (max(from_ms, known_from_ms), min(entries, known_entries))
    return ShardRulesState(_union(one.digests for one in rules), windows)
