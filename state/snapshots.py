"""Snapshots: versioned bytes of every stored state, and the shapes in them.

The first byte is the version of the shape, the next four are a checksum. A changed shape gets a new
version and an upgrade from the one before; golden files of every version are in `tests/golden`.
Bytes never change once handed over.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import numpy as np

from state.errors import DamageError, SnapshotError
from state.interactions import ItemCard
from state.journal_files import JournalPosition
from state.kpis import KpiRecord, KpiState
from state.messages import ShardTotals, SourceTotals
from state.shopper import AMOUNT_UNKNOWN, Shopper

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHECKSUM_BYTES = 4

S = TypeVar("S")
Upgrade = Callable[[Any], Any]
"""From the plain fields of one version to those of the next."""


@dataclass(frozen=True)
class SnapshotCodec(Generic[S]):
    """Encodes one kind of state; decodes what this or an older release encoded."""

    kind: type[S]
    version: int
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict)

    def encode(self, state: S) -> bytes:
        """The version, a checksum (CRC-32 of version and fields), then the fields."""
        fields, version = msgspec.msgpack.encode(state), bytes([self.version])
        return version + _checksum(version, fields) + fields

    def decode(self, blob: bytes) -> S:
        """Read a snapshot of this or an older version; SnapshotError for any other bytes."""
        name = self.kind.__name__
        if not blob:
            raise DamageError(f"{name}: an empty snapshot")
        version, fields = blob[0], memoryview(blob)[1 + _CHECKSUM_BYTES :]
        if blob[1 : 1 + _CHECKSUM_BYTES] != _checksum(blob[:1], fields):
            raise DamageError(f"{name}: a snapshot whose checksum is wrong")
        if version > self.version:
            raise SnapshotError(
                f"{name}: version {version}, this release reads up to {self.version}: "
                "roll forward, or start from an empty recovery folder"
            )
        try:
            if version == self.version:
                return msgspec.msgpack.decode(fields, type=self.kind)
            fields_by_name = msgspec.msgpack.decode(fields)
            for old_version in range(version, self.version):
                fields_by_name = self.upgrades[old_version](fields_by_name)
            return msgspec.convert(fields_by_name, self.kind)
        except (msgspec.DecodeError, msgspec.ValidationError, LookupError) as error:
            raise SnapshotError(
                f"{name}: version {version} cannot be read ({error!r}): "
                "use the release that wrote it, or start from an empty recovery folder"
            ) from error


def _checksum(version: bytes, fields: bytes | memoryview) -> bytes:
    return zlib.crc32(fields, zlib.crc32(version)).to_bytes(_CHECKSUM_BYTES, "big")


class StoredArray(msgspec.Struct, array_like=True):
    """A numpy array at rest: its dtype, its shape and its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> StoredArray:
        """The array, to be stored."""
        return cls(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())

    def to_array(self) -> NDArray[Any]:
        """The array, to be worked on: a copy that may be written to."""
        return np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape).copy()


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
    """Named arrays, to be stored."""
    return {name: StoredArray.from_array(array) for name, array in arrays.items()}


def unpack_arrays(stored: Mapping[str, StoredArray]) -> dict[str, NDArray[Any]]:
    """The arrays by name, writable."""
    return {name: array.to_array() for name, array in stored.items()}


class SourceState(msgspec.Struct):
    """The position in a source partition: `offset` is the number of the next record.

    `topic_id` is Kafka's id of the topic, "" if it has none.
    """

    offset: int = 0
    batches: int = 0
    watermark_ms: int = 0
    finished: bool = False
    totals: SourceTotals = msgspec.field(default_factory=SourceTotals)
    topic_id: str = ""


class ShardRulesState(msgspec.Struct):
    """The state of rule segments in one shard.

    `digests`: by segment, the digest of the rule that its memberships follow. `windows`: by digest, the
    time from which a window has every event (ms, 0 for always), and how many entries it keeps.
    """

    digests: dict[str, int] = {}
    windows: dict[int, tuple[int, int]] = {}


class DevicesState(msgspec.Struct):
    """One shard of devices: anonymous shoppers, links to users, watermarks of the sources.

    Rows and links are in the `journal`, if there is one. `batches`: the number of batches from each
    source partition; all parts of one checkpoint agree on it. `lineage` is the run id and `gone` the
    pending deletes of `operators.shards.cold_tier`. `known` are the known users of
    `operators.shards.identity_map`, and `undecided_from_ms` is that of
    `operators.shards.identity_resolution`: an older release had neither. `erased`: tombstones by hash
    (ms). `is_unclean`: the journal still names an erased id. Field names are stored.
    """

    rows: dict[str, Shopper] = {}
    links: dict[str, tuple[str, int]] = {}
    watermarks: dict[str, tuple[int, bool]] = {}
    totals: ShardTotals = msgspec.field(default_factory=ShardTotals)
    journal: JournalPosition | None = None
    batches: dict[str, int] = {}
    lineage: bytes = b""
    gone: dict[str, bool] = {}
    rules: ShardRulesState = msgspec.field(default_factory=ShardRulesState)
    known: dict[str, int] = {}
    undecided_from_ms: int | None = None
    erased: dict[bytes, int] = {}
    is_unclean: bool = False


class UsersState(msgspec.Struct):
    """One shard of users, and watermarks of the sources; other fields as for devices."""

    rows: dict[str, Shopper] = {}
    watermarks: dict[str, tuple[int, bool]] = {}
    totals: ShardTotals = msgspec.field(default_factory=ShardTotals)
    journal: JournalPosition | None = None
    batches: dict[str, int] = {}
    lineage: bytes = b""
    gone: dict[str, bool] = {}
    rules: ShardRulesState = msgspec.field(default_factory=ShardRulesState)
    erased: dict[bytes, int] = {}
    is_unclean: bool = False


class ShardRecord(msgspec.Struct):
    """One record of a shard's journal: new or changed rows, links and known users, and removed ones.

    `erased`: tombstones by hash (ms), 0 for a dropped one.
    """

    rows: dict[str, Shopper] = {}
    gone: list[str] = []
    links: dict[str, tuple[str, int]] = {}
    unlinked: list[str] = []
    known: dict[str, int] = {}
    unknown: list[str] = []
    erased: dict[bytes, int] = {}


class CountersState(msgspec.Struct):
    """The last totals of each source partition and shard."""

    sources: dict[str, SourceTotals]
    shards: dict[str, ShardTotals]
    lists_written: int
    segment_changes: int


class RuleVersion(msgspec.Struct):
    """The rule of a segment, the time from which it holds (ms), and the name of the segment."""

    digest: int
    version: int
    from_ms: int
    name: str
    description: str
    rule: str
    status: str = "live"


class LearnState(msgspec.Struct):
    """The state of the step `personalize`: everything learned over all shoppers.

    What grows with shoppers or items (row indexes, cards, most arrays) is in the `journal`, if there is
    one. `batches`: as for devices. Field names are stored and older than the names in code:
    `vocabularies` are row indexes, `audience` is the membership index, `ledger` the counters, `defined`
    the cluster definitions, `now_ms` the newest event time, `figures_ms` the time of the last
    aggregates, `told` the cursors of item lists, `views` the recent views.
    """

    vocabularies: dict[str, list[str]]
    recommender: dict[str, StoredArray]
    clusters: dict[str, StoredArray]
    audience: dict[str, StoredArray]
    cards: dict[str, ItemCard]
    changed_cards: list[str]
    change_ids: dict[int, tuple[int, int]]
    ledger: CountersState
    defined: dict[int, tuple[str, int]]
    now_ms: int
    figures_ms: int = 0
    told: tuple[int, int] = (0, 0)
    journal: JournalPosition | None = None
    batches: dict[str, int] = {}
    propensity: dict[str, StoredArray] = {}
    clock_ms: int = 0
    rules: dict[str, RuleVersion] = {}
    views: dict[str, StoredArray] = {}
    is_unclean: bool = False


class ClustersState(msgspec.Struct):
    """The state of the step `train_clusters`.

    `definitions` are name and version by cluster, `accepted` the number of counted events by shard,
    `report_ms` the time of the last report. What is stored by rows is in the `journal`, if there is one.
    """

    clusters: dict[str, StoredArray] = {}
    definitions: dict[int, tuple[str, int]] = {}
    accepted: dict[str, int] = {}
    newest_ms: int = 0
    clock_ms: int = 0
    report_ms: int = 0
    journal: JournalPosition | None = None
    batches: dict[str, int] = {}


class ItemsState(msgspec.Struct):
    """The state of the step `train_items`.

    `cursors` are the items that the next changed item lists begin with. What is stored by rows, the ids
    of rows and the cards are in the `journal`, if there is one; `is_unclean` if it names somebody who
    was erased.
    """

    arrays: dict[str, StoredArray] = {}
    ids: dict[str, list[str]] = {}
    cards: dict[str, ItemCard] = {}
    changed_cards: list[str] = []
    cursors: tuple[int, int] = (0, 0)
    newest_ms: int = 0
    journal: JournalPosition | None = None
    batches: dict[str, int] = {}
    is_unclean: bool = False


class PropensityState(msgspec.Struct):
    """The state of the step `train_propensity`.

    `shoppers` are ids by row, `known` whether each is a known user. What is stored by rows is in the
    `journal`, if there is one; `is_unclean` if it names somebody who was erased.
    """

    propensity: dict[str, StoredArray] = {}
    known: dict[str, StoredArray] = {}
    shoppers: list[str] = []
    newest_ms: int = 0
    clock_ms: int = 0
    report_ms: int = 0
    journal: JournalPosition | None = None
    batches: dict[str, int] = {}
    is_unclean: bool = False


class TableRecord(msgspec.Struct):
    """One record of the journal of a step that trains or personalizes.

    `rows` (int32, as bytes) of a table with `length` rows, and their content: `columns` of one `part`,
    by array name, or the `names` of a row index, "" for a free row. Otherwise `cards` that changed, None
    for a removed one.
    """

    part: str = ""
    length: int = 0
    rows: bytes = b""
    columns: dict[str, StoredArray] = {}
    names: list[str] = []
    cards: dict[str, ItemCard | None] = {}


def _accept_new_fields(plain: Any) -> Any:
    return plain


def _upgrade_orders(plain: Any) -> Any:
    """An order had only its time: its value is unknown."""
    for row in plain["rows"].values():
        if len(row) > _ORDERS_INDEX:
            row[_ORDERS_INDEX] = {
                mark: [at_ms, AMOUNT_UNKNOWN] for mark, at_ms in row[_ORDERS_INDEX].items()
            }
    return plain


_ORDERS_INDEX = Shopper.__struct_fields__.index("orders")
_NEW_FIELDS_UPGRADES: Mapping[int, Upgrade] = dict.fromkeys(range(1, 10), _accept_new_fields)

SOURCE_CODEC = SnapshotCodec(SourceState, version=2, upgrades={1: _accept_new_fields})
DEVICES_CODEC = SnapshotCodec(
    DevicesState, version=6, upgrades={**_NEW_FIELDS_UPGRADES, 5: _upgrade_orders}
)
USERS_CODEC = SnapshotCodec(
    UsersState, version=6, upgrades={**_NEW_FIELDS_UPGRADES, 5: _upgrade_orders}
)
SHARD_RECORD_CODEC = SnapshotCodec(
    ShardRecord, version=4, upgrades={**_NEW_FIELDS_UPGRADES, 3: _upgrade_orders}
)
LEARN_CODEC = SnapshotCodec(LearnState, version=8, upgrades=_NEW_FIELDS_UPGRADES)
CLUSTERS_CODEC = SnapshotCodec(ClustersState, version=1)
ITEMS_CODEC = SnapshotCodec(ItemsState, version=1)
PROPENSITY_CODEC = SnapshotCodec(PropensityState, version=1)
KPIS_CODEC = SnapshotCodec(KpiState, version=1)
KPI_RECORD_CODEC = SnapshotCodec(KpiRecord, version=1)
TABLE_CODEC = SnapshotCodec(TableRecord, version=2, upgrades=_NEW_FIELDS_UPGRADES)

CODEC_BY_STEP: dict[str, SnapshotCodec[Any]] = {
    "events": SOURCE_CODEC,
    "identify": DEVICES_CODEC,
    "sessionize": USERS_CODEC,
    "train_clusters": CLUSTERS_CODEC,
    "train_propensity": PROPENSITY_CODEC,
    "train_items": ITEMS_CODEC,
    "kpis": KPIS_CODEC,
    "personalize": LEARN_CODEC,
    "visit_devices": DEVICES_CODEC,
    "visit_users": USERS_CODEC,
    "learn": LEARN_CODEC,
}
"""The format of each step's state, former step ids last. The step ids are stored too."""


def journals_in(state: Any) -> Iterator[JournalPosition]:
    """The journal positions in a stored state: in its fields, or in a dict there."""
    if isinstance(state, msgspec.Struct):
        for value in msgspec.structs.astuple(state):
            if isinstance(value, JournalPosition):
                yield value
            elif isinstance(value, dict):
                yield from (item for item in value.values() if isinstance(item, JournalPosition))
