"""What a snapshot of all that is learned costs: everything, against the rows that changed.

For each number of shoppers, of a shop of 20,000 items, the tables are filled, stored once, and then
three times 10,000 events are learned and stored, both ways in turn; the median counts. Also printed:
what the tables take in memory, for each shopper and each item.

`python -m benchmarks.learned_snapshots [--shoppers 10000 100000 1000000]`
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from operators.catalogue.item_cards import ItemCards
from operators.recommend.standalone import StandaloneRecommender
from operators.segments.clusters.model import ClusterModel
from operators.segments.membership_index import MembershipIndex
from operators.shoppers.features import FEATURES
from operators.tables.table_store import LoadedTables, Tables, TableStore
from state.entries import ItemUpdate
from state.events import Item
from state.interactions import PURCHASE, VIEW, EventColumns
from state.journal import Journals
from state.journal_files import list_journals
from state.segments import cluster_segment_id
from state.snapshots import pack_arrays

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = 20_000
CHANGED = 10_000
BATCH = 8192
K = 8
ROUNDS = 3
GAP_MS = 30 * 60 * 1000


class Shop:
    """Tables of so many shoppers, who come in order first and by chance later."""

    def __init__(self, shoppers: int) -> None:
        self.rng = np.random.default_rng(7)
        self.now_ms = 1_700_000_000_000
        self.recommender = StandaloneRecommender()
        self.clusters = ClusterModel(K, len(FEATURES))
        self.audience = MembershipIndex(map(cluster_segment_id, range(K)))
        self.cards = ItemCards()
        self.shoppers = shoppers
        for start in range(0, shoppers, BATCH):
            self.learn(np.arange(start, min(start + BATCH, shoppers)))

    def tables(self) -> Tables:
        """What is stored by rows."""
        parts = {
            "recommender": self.recommender.components,
            "clusters": self.clusters,
            "audience": self.audience,
        }
        return Tables(parts, self.recommender.components.row_indexes(), self.cards)

    def learn(self, who: np.ndarray) -> None:
        """A batch of one event of each of these shoppers, popular items more often than others."""
        n = len(who)
        names = [f"shopper-{row:08d}" for row in who.tolist()]
        what = (self.rng.zipf(1.3, n) % ITEMS).tolist()
        items = [f"item-{row:06d}" for row in what]
        self.now_ms += n * 10
        at_ms = [self.now_ms] * n
        kinds = np.where(self.rng.random(n) < 0.05, PURCHASE, VIEW)
        segments = [cluster_segment_id(row % K) for row in who.tolist()]
        start_ms = [self.now_ms - GAP_MS] * n
        categories = [f"category-{row % 200}" for row in what]
        self.recommender.learn(
            EventColumns(names, items, kinds, [1.0] * n, at_ms, start_ms, categories, segments)
        )
        self.recommender.rank(names, self.now_ms)
        self.clusters.learn(self.rng.normal(size=(n, len(FEATURES))))
        rows = self.recommender.shoppers.get_or_add_many(names)
        cluster = (rows % K).astype(np.int16)
        seen_ms = np.array(at_ms, np.int64)
        self.audience.mark_active(rows, [True] * n, seen_ms)
        self.audience.assign("cluster", names, rows, cluster, seen_ms)
        self.cards.update(ItemUpdate(self.now_ms, Item(item), "EUR") for item in items)

    def more(self) -> None:
        """`CHANGED` events of shoppers by chance."""
        for start in range(0, CHANGED, BATCH):
            n = min(BATCH, CHANGED - start)
            self.learn(self.rng.integers(0, self.shoppers, n))

    def whole(self) -> bytes:
        """Everything as one blob."""
        tables = self.tables()
        arrays = {name: pack_arrays(part.arrays()) for name, part in tables.parts.items()}
        ids = {name: vocabulary.ids for name, vocabulary in tables.row_indexes.items()}
        return msgspec.msgpack.encode((arrays, ids, self.cards.by_id))

    def bytes_of(self, rows: int) -> float:
        """Memory of the tables that have so many rows, for each of them."""
        return sum(
            column.nbytes / len(column)
            for part in self.tables().parts.values()
            for table in part.tables()
            for column in table.columns.values()
            if 0.8 * rows <= len(column) <= 2 * rows
        )


def timed(act: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def measure(shoppers: int) -> str:
    """One row of the table."""
    shop = Shop(shoppers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journals = Journals(folder, ratio=1.0)
        stored = TableStore(journals, "learned")
        base_ms = timed(lambda: stored.store(shop.tables()))
        whole_ms, changed_ms, changed_bytes = [], [], []
        for _ in range(ROUNDS):
            shop.more()
            whole_ms.append(timed(shop.whole))
            before = sum(path.stat().st_size for path, _, _ in list_journals(folder))
            changed_ms.append(timed(lambda: stored.store(shop.tables())))
            changed_bytes.append(
                sum(p.stat().st_size for p, _, _ in list_journals(folder)) - before
            )
        handle = stored.store(shop.tables())
        loaded = LoadedTables({part: {} for part in shop.tables().parts}, {}, {})
        load_ms = timed(lambda: TableStore(journals, "learned").load(handle, loaded))
        megabytes = len(shop.whole()) / 1e6
    whole, changed = statistics.median(whole_ms), statistics.median(changed_ms)
    written = statistics.median(changed_bytes) / 1e6
    return (
        f"{shoppers:9,} {whole:10.1f} {megabytes:9.1f} {changed:10.1f} {written:9.1f} "
        f"{base_ms:10.1f} {load_ms:10.1f} {shop.bytes_of(shoppers):10.0f} "
        f"{shop.bytes_of(len(shop.recommender.items)):10.0f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shoppers", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    columns = ("whole ms", "MB", "changed ms", "MB", "first ms", "load ms", "B/shopper", "B/item")
    print(
        "{:>9} {:>10} {:>9} {:>10} {:>9} {:>10} {:>10} {:>10} {:>10}".format("shoppers", *columns)
    )
    with threadpool_limits(1):
        for shoppers in parser.parse_args().shoppers:
            print(measure(shoppers), flush=True)


if __name__ == "__main__":
    main()
