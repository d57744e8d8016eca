"""What does an epoch's snapshot cost, by what changed and by what exists?

`python -m benchmarks.snapshots [SHOPPERS ...]` (10000 100000 1000000): 64 shards of shoppers with 20
events and 5 categories each, about 430 bytes a row; epochs in which 1 % and 10 % of them, drawn by a
seed, have changed. Three ways in one run, all with the small rows in one SQLite file as Bytewax keeps
them: whole shards (the first release), the journal (what runs), and RocksDB with a checkpoint an epoch,
where `rocksdict` is installed. Bytes are what was written to files, `resume` is opening, reading and
decoding all rows, `disk` what is there after the last epoch with nothing else kept.
"""

from __future__ import annotations

import gc
import importlib.util
import pickle
import random
import shutil
import sqlite3
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import shard_of
from state.config import Lifecycle, Profiles, Sessions, State
from state.journal import Journals
from state.journal_files import list_journals
from state.shopper import Order, Session, Shopper
from state.snapshots import DEVICES_CODEC

SHARDS = 64
RULES = ProcessorConfig.from_config(Sessions(), Profiles(), State(), Lifecycle())
START_MS = 1_700_000_000_000
CHANGED = (0.01, 0.1)
EPOCHS = {10_000: 60, 100_000: 30, 1_000_000: 12}
WHOLE_EPOCHS = 2
CATEGORIES = [f"{a}/{b}" for a in ("wear", "home", "office", "garden") for b in range(40)]


def shopper(rng: random.Random) -> Shopper:
    """One with twenty events behind it."""
    made = Shopper(False, START_MS, START_MS + rng.randrange(10**9), 20, 14, 3, 1, 2, 0, 1, 1)
    made.revenue_micros = rng.randrange(10**8)
    made.viewed_price_micros, made.viewed_prices = rng.randrange(10**9), 14
    made.sessions, made.session_ms, made.session_events = 3, rng.randrange(10**7), 20
    made.first_purchase_ms = made.last_purchase_ms = made.last_ms
    made.recent_event_hashes = rng.randbytes(160)
    made.orders = {rng.randbytes(8): Order(made.last_ms, made.revenue_micros, 1)}
    made.affinity = {category: rng.random() for category in rng.sample(CATEGORIES, 5)}
    made.affinity_scale, made.currency = 1322, "EUR"
    if rng.random() < 0.05:
        made.open_sessions = [Session(made.last_ms - 60_000, made.last_ms, 4, 3, 1)]
    return made


class Way(ABC):
    """One way to store shards."""

    def __init__(self, folder: Path, shards: list[DeviceShard]) -> None:
        self._folder = folder
        self._shards = shards

    @abstractmethod
    def snapshot(self, shard: int) -> bytes:
        """What Bytewax is handed."""

    def epoch_over(self) -> None:  # noqa: B027 not every way has something to do
        """Whatever there is to do once an epoch."""

    @abstractmethod
    def resume(self, blobs: list[bytes]) -> int:
        """Read everything anew; returns how many rows there are."""


class Whole(Way):
    """All rows in the snapshot."""

    def snapshot(self, shard: int) -> bytes:
        """As every way."""
        self._shards[shard].shoppers.dirty_names.clear()
        return self._shards[shard].snapshot()

    def resume(self, blobs: list[bytes]) -> int:
        """As every way."""
        return sum(len(DeviceShard(RULES, blob).shoppers.rows) for blob in blobs)


class Journaled(Way):
    """What runs."""

    def __init__(self, folder: Path, shards: list[DeviceShard]) -> None:
        super().__init__(folder, [])
        journals = Journals(folder, ratio=1.0)
        for number, former in enumerate(shards):
            shard = DeviceShard(RULES, None, journals)
            shard.shoppers.rows.update(former.shoppers.rows)
            shard.shoppers.dirty_names = former.shoppers.dirty_names
            shard._journal.shard = number
            self._shards.append(shard)

    def snapshot(self, shard: int) -> bytes:
        """As every way."""
        return self._shards[shard].snapshot()

    def epoch_over(self) -> None:
        """As every way."""
        last: dict[str, int] = {}
        for _, name, generation in list_journals(self._folder):
            last[name] = max(last.get(name, 0), generation)
        for path, name, generation in list_journals(self._folder):
            if generation < last[name]:
                path.unlink()

    def resume(self, blobs: list[bytes]) -> int:
        """As every way."""
        journals = Journals(self._folder, ratio=1.0)
        return sum(len(DeviceShard(RULES, blob, journals).shoppers.rows) for blob in blobs)


class Rocks(Way):
    """One RocksDB for all shards, its log not waited for, and a checkpoint an epoch to go back to."""

    def __init__(self, folder: Path, shards: list[DeviceShard]) -> None:
        super().__init__(folder, shards)
        self._lib: Any = importlib.import_module("rocksdict")
        self._kept = folder / "checkpoint"
        self._db = self._lib.Rdict(str(folder / "db"), self._lib.Options(raw_mode=True))

    def snapshot(self, shard: int) -> bytes:
        """As every way."""
        shoppers = self._shards[shard].shoppers
        batch = self._lib.WriteBatch(raw_mode=True)
        for name in shoppers.dirty_names:
            batch.put(f"{shard}/{name}".encode(), msgspec.msgpack.encode(shoppers.rows[name]))
        self._db.write(batch)
        shoppers.dirty_names.clear()
        return b"the epoch's checkpoint"

    def epoch_over(self) -> None:
        """As every way."""
        shutil.rmtree(self._kept, ignore_errors=True)
        self._lib.Checkpoint(self._db).create_checkpoint(str(self._kept))

    def resume(self, blobs: list[bytes]) -> int:
        """As every way."""
        self._db.close()
        db = self._lib.Rdict(str(self._kept), self._lib.Options(raw_mode=True))
        decode = msgspec.msgpack.Decoder(Shopper).decode
        rows: list[dict[str, Shopper]] = [{} for _ in range(SHARDS)]
        for key, value in db.items():
            shard, _, name = key.decode().partition("/")
            rows[int(shard)][name] = decode(value)
        db.close()
        return sum(map(len, rows))


def written_bytes() -> int:
    """What this process has handed to files so far."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["wchar"])


def measure(make: type[Way], shards: list[DeviceShard], shoppers: int) -> None:
    """One way: a line for each share of changed shoppers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        way = make(folder, shards)
        store = sqlite3.connect(folder / "store.sqlite3", isolation_level=None)
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE snaps (shard INTEGER PRIMARY KEY, blob BLOB)")
        names = [(shard_of(f"shopper {n}", SHARDS), f"shopper {n}") for n in range(shoppers)]
        for shard, one in names:
            shards[shard].shoppers.dirty_names.add(one)
        blobs: list[bytes] = []

        def epoch() -> float:
            nonlocal blobs
            began_s = perf_counter()
            blobs = [way.snapshot(shard) for shard in range(SHARDS)]
            way.epoch_over()
            store.execute("BEGIN")
            rows = [(shard, pickle.dumps(blob)) for shard, blob in enumerate(blobs)]
            store.executemany("REPLACE INTO snaps VALUES (?, ?)", rows)
            store.execute("COMMIT")
            return perf_counter() - began_s

        epoch()
        for share in CHANGED:
            rng = random.Random(5)
            epochs = WHOLE_EPOCHS if make is Whole else EPOCHS.get(shoppers, 20)
            before, costs_s = written_bytes(), []
            for _ in range(epochs):
                for shard, one in rng.sample(names, round(shoppers * share)):
                    shards[shard].shoppers.dirty_names.add(one)
                costs_s.append(epoch())
            each = (written_bytes() - before) / epochs / 1e6
            costs_s.sort()
            print(
                f"{shoppers:>9,} {make.__name__:>9} {share:>5.0%}"
                f" {1000 * sum(costs_s) / epochs:>9.1f} {1000 * costs_s[-1]:>9.1f} {each:>9.2f}",
                end="" if share == CHANGED[-1] else "\n",
            )
        store.close()
        disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        for one_shard in shards:
            one_shard.shoppers.dirty_names = set()
        began_s = perf_counter()
        count = way.resume(blobs)
        assert count == shoppers
        print(f" {perf_counter() - began_s:>9.2f} {disk:>9.1f}", flush=True)


def main() -> None:
    """Print the table."""
    print("shoppers       way share   mean ms  worst ms        MB  resume s   disk MB")
    ways: list[type[Way]] = [Whole, Journaled]
    if importlib.util.find_spec("rocksdict"):
        ways.append(Rocks)
    for shoppers in [int(word) for word in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        rng = random.Random(3)
        shards = [DeviceShard(RULES) for _ in range(SHARDS)]
        for n in range(shoppers):
            name = f"shopper {n}"
            shards[shard_of(name, SHARDS)].shoppers.rows[name] = shopper(rng)
        if shoppers == 10_000:
            size = (
                sum(len(DEVICES_CODEC.encode(DEVICES_CODEC.decode(s.snapshot()))) for s in shards)
                / shoppers
            )
            print(f"# {size:.0f} bytes a row")
        gc.disable()  # as the flow does
        for way in ways:
            measure(way, shards, shoppers)


if __name__ == "__main__":
    main()
