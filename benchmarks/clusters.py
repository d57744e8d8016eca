"""How close one pass comes to batch k-means, and how fast: `python -m benchmarks.clusters`.

Quality: inertia of the final centres over the whole table, divided by that of scikit-learn
`KMeans(n_init=50)`, for k = 3..8 and five orders of the rows (the first is the file's own).
`scaled on the way` is the same pass as the flow makes it, through `Clusters`, which has to learn
the scale too. `sample 512` shows what is left when the sample for restarts is a small part of the
stream, as it is on a long one; `partial_fit` is scikit-learn's own one-pass learner.
Speed: rows learned and assigned per CPU second, blocks of 1,000 rows, 12 features, beside River's
learner on the same rows: k-means with k = 8 and `KMeans`, k from 4 to 12, DBSTREAM and `DBSTREAM`.
"""

from __future__ import annotations

import csv
import gzip
import time
from collections import defaultdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from river import base, cluster
from sklearn.cluster import KMeans
from sklearn.cluster import MiniBatchKMeans as SklearnMiniBatch
from threadpoolctl import threadpool_limits

from operators.models.kmeans import inertia
from operators.models.minibatch_kmeans import MiniBatchKMeans
from operators.segments.clusters.model import ClusterModel
from tests.shared import SHARED_DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from numpy.typing import NDArray

    Table = NDArray[np.float64]

ORDERS = 5
RADIUS = 1.5
SECONDS_A_DAY = 86_400


def shoppers(path: Path) -> Table:
    """The 10 numeric columns of Online Shoppers, z-scored; rows with an empty one left out."""
    with gzip.open(path, "rt") as file:
        rows = [row[:10] for row in csv.reader(file)][1:]
    return _z_scored(np.array([row for row in rows if all(row)], np.float64))


def rfm(path: Path) -> Table:
    """Recency (days), frequency (invoices), monetary value of each customer of Online Retail,
    without cancellations; log1p, z-scored."""
    invoices: dict[str, set[str]] = defaultdict(set)
    spent: dict[str, float] = defaultdict(float)
    last_s: dict[str, float] = defaultdict(float)
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            customer, invoice = row["CustomerID"], row["InvoiceNo"]
            if not customer or invoice.startswith("C"):
                continue
            at_s = datetime.fromisoformat(row["InvoiceDate"]).timestamp()
            invoices[customer].add(invoice)
            spent[customer] += float(row["Quantity"]) * float(row["UnitPrice"])
            last_s[customer] = max(last_s[customer], at_s)
    end_s = max(last_s.values())
    table = [
        ((end_s - last_s[customer]) / SECONDS_A_DAY, len(invoices[customer]), spent[customer])
        for customer in spent
    ]
    return _z_scored(np.log1p(np.array(table)))


def batch_inertia(points: Table, k: int) -> float:
    """The yardstick: the best of 50 starts over all points at once."""
    return float(KMeans(k, n_init=50, random_state=0).fit(points).inertia_)


def one_pass_inertia(points: Table, k: int, seed: int, sample_points: int = 4096) -> float:
    """Inertia over all points after one pass over them; seed 0 keeps their order."""
    model = MiniBatchKMeans(k, points.shape[1], sample_points=sample_points, seed=seed)
    model.learn_array(_ordered(points, seed))
    return inertia(points, model.centres)


def _scaled_on_the_way_inertia(points: Table, k: int, seed: int) -> float:
    clusters = ClusterModel(k, points.shape[1], seed=seed)
    for start in range(0, len(points), 1000):
        clusters.learn(_ordered(points, seed)[start : start + 1000])
    return float(np.square(clusters.assign(points)[1], dtype=np.float64).sum())


def _partial_fit_inertia(points: Table, k: int, seed: int) -> float:
    model = SklearnMiniBatch(k, n_init=1, random_state=seed)
    for start in range(0, len(points) - 255, 256):
        model.partial_fit(_ordered(points, seed)[start : start + 256])
    return inertia(points, model.cluster_centers_)


def _ordered(points: Table, seed: int) -> Table:
    return points[np.random.default_rng(seed).permutation(len(points))] if seed else points


def _z_scored(table: Table) -> Table:
    scores: Table = (table - table.mean(axis=0)) / table.std(axis=0)
    return scores


def _print_quality(name: str, points: Table) -> None:
    print(f"\n{name}: {len(points):,} rows, {points.shape[1]} features; inertia / batch inertia")
    ways: dict[str, Callable[[Table, int, int], float]] = {
        "one pass": one_pass_inertia,
        "scaled on the way": _scaled_on_the_way_inertia,
        "sample 512": partial(one_pass_inertia, sample_points=512),
        "partial_fit": _partial_fit_inertia,
    }
    print("k  " + "".join(f"{way + ' mean':>24}  worst" for way in ways))
    for k in range(3, 9):
        batch = batch_inertia(points, k)
        print(k, end="  ")
        for way in ways.values():
            ratios = [way(points, k, seed) / batch for seed in range(ORDERS)]
            print(f"{np.mean(ratios):24.3f}  {max(ratios):5.3f}", end="")
        print()


def _print_speed() -> None:
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(8, 12)) * 3
    points = groups[rng.integers(0, 8, 300_000)] + rng.normal(size=(300_000, 12))
    rows: list[dict[Hashable, float]] = [dict(enumerate(row)) for row in points[:3000].tolist()]
    kmeans: base.Clusterer = cluster.KMeans(n_clusters=8, seed=0)
    dbstream = cluster.DBSTREAM(clustering_threshold=RADIUS, fading_factor=0.0)
    for name, ours, theirs in (
        ("k = 8", ClusterModel(8, 12), kmeans),
        ("k = 4..12", ClusterModel((4, 12), 12), None),
        ("dbstream", ClusterModel(8, 12, radius=RADIUS), dbstream),
    ):
        began_s = time.process_time()
        for start in range(0, len(points), 1000):
            ours.learn(points[start : start + 1000])
            ours.assign(points[start : start + 1000])
        rate = len(points) / (time.process_time() - began_s)
        print(f"\n{name}: rows_per_cpu_s={rate:,.0f}", end=" ")
        if theirs is not None:
            began_s = time.process_time()
            for row in rows:
                theirs.learn_one(row)
            river = len(rows) / (time.process_time() - began_s)
            print(f"river={river:,.0f} ratio={rate / river:.0f}", end="")
    print()


if __name__ == "__main__":
    _print_quality("Online Shoppers", shoppers(SHARED_DATA / "online_shoppers_odd.csv.gz"))
    _print_quality("RFM", rfm(SHARED_DATA / "online_retail_2010-12_2011-07.csv.gz"))
    with threadpool_limits(1):
        _print_speed()
