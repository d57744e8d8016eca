"""How well is foretold what shoppers do: `python -m benchmarks.propensity`, about a minute.

The flow's own steps, without Kafka and Redis, over real logs in their order; every chance was said
before its outcome was known. `rule` is a plain rule on the same cases (something in the cart; bought
lately; away for long), `rate` a constant that knows the share of all outcomes beforehand.

- rees46: 17,056 views, 165 carts, 214 purchases, nearly all within half an hour; so a session ends
  after 5 minutes here (30 by default), or no outcome would be known before the log ends. All events
  decide.
- yoochoose_week: clicks only. In place of a purchase: the session goes on for three more clicks. The
  rule is how many clicks there were.
- online_retail: eight months of orders of a gift shop, with the default configuration; no views, so who
  does not come back has not bought. Besides it is cut at the first of some months: what is said of
  everybody known then, beside a recount of what came after (`tests/chances.py`).

`--plot FILE` draws how often came true what was said.

The data is looked for in ../shared/data or `PENSTOCK_SHARED_DATA`.
"""

from __future__ import annotations

import csv
import gzip
import heapq
import zlib
from argparse import ArgumentParser
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.reliability import draw
from operators.readers.registry import READERS
from operators.segments.propensity.chance_model import ChanceModel
from operators.shards.batching import SourceBatcher
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.config_loader import load
from state.events import Event
from tests.chances import Recount, log
from tests.chances import followed as watched
from tests.personalization import Personalization
from tests.shared import SHARED_DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operators.segments.propensity.propensity import PropensityModels
    from state.config import Settings

SHARDS = 4
GOES_ON_CLICKS = 3
SESSION_GAP_S = 1800


def followed(path: Path, format_name: str, settings: Settings) -> PropensityModels:
    """The models after a whole log."""
    rules = ProcessorConfig.from_config(
        settings.sessions,
        settings.profiles,
        settings.state,
        settings.lifecycle,
        propensity=settings.propensity,
    )
    learning, clock = Personalization(settings), SourceBatcher()
    devices = [DeviceShard(rules) for _ in range(SHARDS)]
    users = [UserShard(rules) for _ in range(SHARDS)]
    records = READERS[format_name](_lines(path), source=path.name, now_ms=2_000_000_000_000)
    events = (one for one in records if isinstance(one, Event))
    while some := list(islice(events, settings.source.batch_events)):
        batch = clock.batch(
            some,
            partition="0",
            shards=SHARDS,
            allowed_lateness_ms=settings.sessions.allowed_lateness_ms,
        )
        visited = [
            one for group in batch.shard_inputs for one in devices[group.shard].process(group)
        ]
        learning.process_batch(
            [p for m in regroup(visited, SHARDS) for p in users[m.shard].process(m)]
        )
    return learning.propensity.models


def sessions_that_go_on(path: Path) -> ChanceModel:
    """The same model and judge on sessions of clicks; an outcome is known when the session is over."""
    with gzip.open(path, "rt") as file:
        rows = [
            (float(row[2]), int(row[0]))
            for row in islice(csv.reader(file, delimiter="\t"), 1, None)
        ]
    rows.sort()
    length: dict[int, int] = {}
    end_s: dict[int, float] = {}
    for at_s, session in rows:
        length[session] = length.get(session, 0) + 1
        end_s[session] = at_s
    model = ChanceModel(5, 100)
    first_s: dict[int, float] = {}
    clicks: dict[int, int] = {}
    last_s: dict[int, float] = {}
    waiting: list[tuple[float, int, list[float], float, float, float]] = []
    for place, (at_s, session) in enumerate(rows):
        over = []
        while waiting and waiting[0][0] < at_s:
            over.append(heapq.heappop(waiting))
        if over:
            points, said, outcomes, rule = (
                np.array([one[column] for one in over]) for column in (2, 3, 4, 5)
            )
            model.learn(points, said, outcomes, rule)
        n = clicks[session] = clicks.get(session, 0) + 1
        since_s = at_s - last_s.get(session, at_s)
        minutes = (at_s - first_s.setdefault(session, at_s)) / 60
        last_s[session] = at_s
        point = [np.log(n), np.log1p(minutes), np.log1p(minutes / n), np.log1p(since_s), n == 1]
        said_now = float(model.predict(np.array([point]))[0])
        goes_on = float(length[session] - n >= GOES_ON_CLICKS)
        # Outcomes are learned late and in the order in which they are known.
        known_s = end_s[session] + SESSION_GAP_S
        heapq.heappush(waiting, (known_s, place, point, said_now, goes_on, n / (n + 10)))
    return model


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        try:
            yield from file
        except (EOFError, zlib.error):
            return


def _print(log: str, name: str, model: ChanceModel) -> None:
    judge = model.evaluation
    print(
        f"{log:<16}{name:<15}{judge.labels:>7}{judge.rate:>7.3f}{judge.auc:>7.3f}"
        f"{model.rule_evaluation.auc:>7.3f}{judge.log_loss:>10.4f}{judge.log_loss_of_rate:>8.4f}"
        f"{judge.calibration_error:>8.3f}"
    )


def recounted() -> None:
    """Print, at the first of some months, mean chances of everybody and what a recount finds."""
    print("\nonline_retail cut at  known    buy   came  churn   away    value     came")
    events = log("online_retail_2010-12_2011-07.csv.gz", "online-retail")
    recount, asked = Recount(events), load(environment={}).propensity
    for month in (4, 5, 6, 7):
        day = datetime(2011, month, 1, tzinfo=UTC)
        at_ms = int(day.timestamp() * 1000)
        before = [one for one in events if one.event_ts < at_ms]
        names, (buys, churn, value) = watched(before, asked).chances()
        came = np.array([recount.after(name, at_ms, asked) for name in names])
        bought, away, spent = came.mean(axis=0)
        print(
            f"{day:%Y-%m-%d}          {len(names):>7}{buys.mean():>7.3f}{bought:>7.3f}"
            f"{churn.mean():>7.3f}{away:>7.3f}{value.mean():>9.2f}{spent:>9.2f}"
        )


def main(arguments: list[str] | None = None) -> None:
    """Print all figures."""
    parser = ArgumentParser(description="How well is foretold what shoppers do.")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw said against came true")
    plot: Path | None = parser.parse_args(arguments).plot
    print("log             model            cases   rate    AUC   rule  log loss    rate   calib.")
    few = (
        "source.batch_events=64",
        f"sessions.shards={SHARDS}",
        "lists.figures_every_ms=3600000000",
    )
    sessions = (
        "sessions.gap_ms=300000",
        "sessions.allowed_lateness_ms=0",
        "propensity.sampled_share=1.0",
        "propensity.labels_min=30",
    )
    of_sessions = followed(
        SHARED_DATA / "rees46_2019-10-01.csv.gz",
        "rees46",
        load(environment={}, overrides=(*few, *sessions)),
    )
    _print("rees46", "p_buy_session", of_sessions.session)
    model = sessions_that_go_on(SHARED_DATA / "yoochoose_week/train.tsv.gz")
    _print("yoochoose_week", "goes on", model)
    models = followed(
        SHARED_DATA / "online_retail_2010-12_2011-07.csv.gz",
        "online-retail",
        load(environment={}, overrides=few),
    )
    _print("online_retail", "p_buy_30d", models.weekly.buys)
    _print("online_retail", "p_churn", models.weekly.churn)
    judge = models.weekly.value.evaluation
    said, came, error, error_of_mean = judge.means
    print(
        f"online_retail   value_30d      mean said {said:.0f}, came {came:.0f}; error {error:.0f}, of a "
        f"constant {error_of_mean:.0f}; the tenth said highest brought {judge.top_tenth:.2f}"
    )
    if plot is not None:
        judges = {
            "rees46: p_buy_session": of_sessions.session.evaluation,
            "online_retail: p_buy_30d": models.weekly.buys.evaluation,
            "online_retail: p_churn": models.weekly.churn.evaluation,
        }
        draw(judges, plot)
    recounted()


if __name__ == "__main__":
    main()
