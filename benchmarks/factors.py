"""How good and how fast are the factors, beside River's and beside popularity?

    python -m benchmarks.factors [DATA FOLDER]

Prints, each pair in one run: the progressive error on MovieLens 100K with River's; Recall@20 on
films (prequential, known users, items they have not had; beside it other factorizations,
`factor_rivals`) and HR@20, MRR@20 on a shop's clicks
(prequential over the test part, every click of a session but its first, repeats allowed), with
popularity; and microseconds of processor time an event and a request.
"""

from __future__ import annotations

import csv
import gzip
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from river import optim, reco
from threadpoolctl import threadpool_limits

from benchmarks.factor_rivals import Eals, Isgd
from operators.models.river.mf_ranker import MatrixFactorizationRanker
from operators.recommend.candidates.factors import SessionFactorsReranker
from state.arrays import NO_ROW
from state.interactions import Interactions, ListRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benchmarks.factor_rivals import Scoring

SESSION_GAP_MS = 30 * 60 * 1000
CONTEXT = 5
K = 20


def movielens(data: Path) -> None:
    """Progressive error and speed, ours over River's."""
    with gzip.open(data / "movielens_100k/ml-100k.inter.gz", "rt") as lines:
        next(lines)
        rows = sorted((line.split() for line in lines), key=lambda row: int(float(row[3])))
    ratings = [(user, item, float(y)) for user, item, y, _ in rows]
    rivers = reco.BiasedMF(
        n_factors=10,
        bias_optimizer=optim.SGD(0.025),
        latent_optimizer=optim.SGD(0.05),
        latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=73),
    )
    ours = MatrixFactorizationRanker(seed=73)
    true = np.array([y for _, _, y in ratings])
    said, seconds = {}, {}
    for name, model in (("river", rivers), ("ours", ours)):
        began = time.process_time()
        answers = []
        for user, item, y in ratings:
            answers.append(model.predict_one(user, item))
            model.learn_one(user, item, y)
        seconds[name] = time.process_time() - began
        said[name] = np.array(answers)
        error = np.clip(said[name], 1, 5) - true
        print(
            f"movielens_100k {name:5} mae={np.abs(error).mean():.4f} "
            f"rmse={np.sqrt((error**2).mean()):.4f} us_per_rating={seconds[name] * 10:.1f}"
        )
    apart = np.abs(said["ours"] - said["river"]).max()
    print(f"movielens_100k largest_difference={apart:.1e}")
    print(f"movielens_100k speed_ours_over_river={seconds['river'] / seconds['ours']:.2f}")
    mixed = np.random.default_rng(1).permutation(len(ratings)).tolist()
    for order, rows_in_order in (("time", range(len(ratings))), ("mixed", mixed)):
        shuffled = [ratings[n] for n in rows_in_order]
        batched = MatrixFactorizationRanker(seed=73)
        began = time.process_time()
        for start in range(0, len(shuffled), 4000):
            batched.learn_many(*zip(*shuffled[start : start + 4000], strict=True))
        us = (time.process_time() - began) * 10
        print(f"movielens_100k learn_many order={order} us_per_rating={us:.1f}")
    users, items = [r[0] for r in ratings], [r[1] for r in ratings]
    names = list(dict.fromkeys(items))
    for name, model in (("river", rivers), ("ours", ours)):
        began = time.process_time()
        for user in users[:20]:
            model.rank(user, {*names})
        us = (time.process_time() - began) / 20 * 1e6
        print(f"movielens_100k {name:5} rank_{len(names)}_items_us={us:.0f}")


def columns(rows: list[tuple[str, str, int]]) -> Interactions:
    """(shopper, item, ms) in time order as interactions, with what came before in the session."""
    shoppers: dict[str, int] = {}
    items: dict[str, int] = {}
    before: dict[str, tuple[list[int], int]] = {}
    context = np.full((len(rows), CONTEXT), NO_ROW, np.int32)
    pairs = np.zeros((len(rows), 2), np.int32)
    for n, (shopper, item, at_ms) in enumerate(rows):
        pairs[n] = (shoppers.setdefault(shopper, len(shoppers)), items.setdefault(item, len(items)))
        had, last_ms = before.get(shopper, ([], at_ms))
        had = had if at_ms - last_ms <= SESSION_GAP_MS else []
        context[n, : len(had)] = had
        before[shopper] = ([int(pairs[n, 1]), *had][:CONTEXT], at_ms)
    return Interactions(
        pairs[:, 0],
        pairs[:, 1],
        np.zeros(len(rows), np.int8),
        np.ones(len(rows), np.float32),
        np.array([at_ms for _, _, at_ms in rows]),
        context,
    )


def part_of(batch: Interactions, part: slice) -> Interactions:
    """Some rows of a batch."""
    return Interactions(
        batch.shopper[part],
        batch.item[part],
        batch.kind[part],
        batch.weight[part],
        batch.at_ms[part],
        batch.context[part],
    )


def films(data: Path) -> None:
    """Recall@20 of what a known user takes next among all items they have not had."""
    with gzip.open(data / "isgd_movielens.csv.gz", "rt") as lines:
        rows = [
            (r["UserID"], r["ItemID"], int(r["Timestamp"]) * 1000) for r in csv.DictReader(lines)
        ]
    stream = columns(sorted(rows, key=lambda row: row[2]))
    for step in (1, 16, 512):
        learner = SessionFactorsReranker()
        print(f"isgd_movielens batch={step} {unseen_recall(learner, stream, step)}")
    size = (int(stream.shopper.max()) + 1, int(stream.item.max()) + 1)
    for name, rival in (("isgd", Isgd(*size)), ("eals", Eals(*size))):
        began = time.process_time()
        rival.learn_many(stream)
        us = (time.process_time() - began) / len(stream) * 1e6
        again = type(rival)(*size)
        print(f"isgd_movielens {name} {unseen_recall(again, stream, 16)} us_per_event={us:.0f}")


def unseen_recall(learner: Scoring, stream: Interactions, step: int) -> str:
    """Score each event on the state before its batch, then learn the batch."""
    had = np.zeros((stream.shopper.max() + 1, stream.item.max() + 1), bool)
    counts = np.zeros(had.shape[1])
    everything = np.arange(had.shape[1], dtype=np.int32)
    hits = {"factors": 0, "popularity": 0}
    cases = 0
    for start in range(0, len(stream), step):
        batch = part_of(stream, slice(start, start + step))
        learned = counts > 0
        candidates = np.tile(everything, (len(batch), 1))
        scores = {
            "factors": learner.score(
                ListRequests(batch.shopper, batch.context, batch.at_ms), candidates
            ),
            "popularity": np.tile(counts, (len(batch), 1)),
        }
        for n, (user, item) in enumerate(zip(batch.shopper, batch.item, strict=True)):
            if had[user].any():
                cases += 1
                open_items = learned & ~had[user]
                for name, score in scores.items():
                    # Ties count against it: who says nothing of anything finds nothing.
                    place = (score[n, open_items] >= score[n, item]).sum()
                    hits[name] += bool(open_items[item] and place <= K)
            had[user, item] = True
        np.add.at(counts, batch.item, 1)
        learner.learn_many(batch)
    found = " ".join(f"{name}={hit / cases:.4f}" for name, hit in hits.items())
    return f"recall@20 {found} isgd_published=0.065 cases={cases}"


def clicks(data: Path) -> None:
    """HR@20 and MRR@20 of the next click."""
    parts = []
    for name in ("train", "valid", "test"):
        with gzip.open(data / f"yoochoose_week/{name}.tsv.gz", "rt") as lines:
            next(lines)
            rows = [line.split() for line in lines]
        parts.append(sorted([(s, i, int(float(t) * 1000)) for s, i, t in rows], key=lambda r: r[2]))
    learned = sorted(parts[0] + parts[1], key=lambda row: row[2])
    stream = columns(learned + parts[2])
    learner = SessionFactorsReranker()
    for start in range(0, len(learned), 2000):
        learner.learn_many(part_of(stream, slice(start, min(start + 2000, len(learned)))))
    counts = np.bincount(stream.item[: len(learned)], minlength=stream.item.max() + 1)
    everything = np.arange(len(counts), dtype=np.int32)
    ranks: dict[str, list[int]] = {"factors": [], "popularity": []}
    begun: set[int] = set()
    for start in range(len(learned), len(stream), 8):
        batch = part_of(stream, slice(start, start + 8))
        lists = learner.candidates(among(batch, np.tile(everything, (len(batch), 1))), K)
        popular = np.argsort(-counts, kind="stable")[:K]
        for n, (shopper, item) in enumerate(zip(batch.shopper, batch.item, strict=True)):
            if int(shopper) in begun:
                ranks["factors"].append(place_of(item, lists.item[n]))
                ranks["popularity"].append(place_of(item, popular))
            begun.add(int(shopper))
        np.add.at(counts, batch.item, 1)
        learner.learn_many(batch)
    for name, places in ranks.items():
        found = np.array([1 / place for place in places if place])
        print(
            f"yoochoose_week {name:10} hr@20={len(found) / len(places):.3f} "
            f"mrr@20={found.sum() / len(places):.3f} cases={len(places)}"
        )


def among(batch: Interactions, named: NDArray[np.int32]) -> ListRequests:
    """Requests at the time of a batch, for which these items were named."""
    return ListRequests(batch.shopper, batch.context, batch.at_ms, named)


def place_of(item: np.int32, listed: NDArray[Any]) -> int:
    """1 for the first of the list, 0 for none of it."""
    at = np.flatnonzero(listed == item)
    return int(at[0]) + 1 if len(at) else 0


def speed() -> None:
    """Zipf items (20,000) and 50,000 shoppers, five items of context, 100 items named for each."""
    rng = np.random.default_rng(0)
    learner = SessionFactorsReranker()

    def batch(n: int) -> Interactions:
        return Interactions(
            rng.integers(0, 50_000, n).astype(np.int32),
            (rng.zipf(1.2, n) % 20_000).astype(np.int32),
            np.zeros(n, np.int8),
            np.ones(n, np.float32),
            np.arange(n) + 1_700_000_000_000,
            (rng.zipf(1.2, (n, CONTEXT)) % 20_000).astype(np.int32),
        )

    for n in (500, 2000, 4000):
        batches = [batch(n) for _ in range(30)]
        us = median_us([partial(learner.learn_many, each) for each in batches]) / n
        print(f"speed learn batch={n} us_per_interaction={us:.2f}")
    given = rng.integers(0, 20_000, (1500, 100)).astype(np.int32)
    requests = among(batch(1500), given)
    for k in (20, 50, 100):
        us = median_us([partial(learner.candidates, requests, k)] * 7) / 1500
        print(f"speed candidates k={k} named=100 us_per_request={us:.1f}")
    us = median_us([partial(learner.score, requests, given)] * 7) / 1500
    print(f"speed score items=100 us_per_request={us:.1f}")


def median_us(calls: list[Callable[[], object]]) -> float:
    """Median processor time of these calls."""
    took = []
    for call in calls:
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return float(np.median(took)) * 1e6


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
    movielens(folder)
    films(folder)
    clicks(folder)
    with threadpool_limits(1):  # as the flow runs
        speed()
