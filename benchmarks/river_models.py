"""How good are models of River in the flow, and what do they cost: `python -m benchmarks.river_models`.

Each estimator takes its slot in the real flow (a replay into a Redis of its own), all else being equal.
Printed are what the flow itself measures (`ps:1:model:*`) and the CPU of the process an event, over the
whole replay: the difference to ours is what the estimator costs more. Five to ten minutes.

- propensity: progressive AUC and log loss. `online_retail`: eight months of orders of a gift shop, the
  30-day models; `rees46`: half an hour of a shop, the chance that a session buys, with sessions that end
  after five minutes and all events deciding (as in `benchmarks.propensity`).
- clusters: `rees46` and the synthetic shop of `generate_events`, 40,000 events. Inertia is progressive:
  the squared distance (standard scores) of a point to its cluster before it was learned.

`--quick` takes the first 4,000 records of each log. The data is looked for in ../shared/data or
`PENSTOCK_SHARED_DATA`.
"""

from __future__ import annotations

import tempfile
import time
from argparse import ArgumentParser
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any

from flows.commands.replay import read_records
from flows.commands.tune_estimators import PROPOSED
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_recordings
from flows.sources.files import LogFile
from operators.events.decode import decode_lines
from operators.synthetic.traffic import encode_lines, generate_events
from state import keys
from state.config_loader import load
from state.store import Store
from tests.shared import SHARED_DATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.config import Settings

SESSIONS = (
    "sessions.gap_ms=300000",
    "sessions.allowed_lateness_ms=0",
    "propensity.sampled_share=1.0",
    "propensity.labels_min=30",
    "propensity.horizon_days=0",
)


def recorded(name: str, format_name: str, most: int | None) -> Sequence[Any]:
    """The records of a log, in the order of a replay."""
    with (
        LogFile(str(SHARED_DATA / name)) as log,
        closing(read_records(log, format_name, load(environment={}).source.limits, Flag())) as all_,
    ):
        return [*islice(all_, most)]


def synthetic(most: int | None) -> Sequence[Any]:
    """A synthetic shop."""
    lines = encode_lines(generate_events(events=most or 40_000, shoppers=4000, items=800))
    return [
        *decode_lines(lines, source="shop", partition="0", first_offset=0, now_ms=1_900_000_000_000)
    ]


def replayed(records: Sequence[Any], settings: Settings) -> tuple[dict[str, dict[str, str]], float]:
    """The fields of the models' keys after a replay, and the CPU of this process an event (us)."""
    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as folder:
        began_s = time.process_time()
        replay_recordings(
            {"log": lambda: iter(records)},
            settings,
            redis_url=redis.url,
            dead_letters=Path(folder) / "dead_letters.jsonl",
        )
        us = (time.process_time() - began_s) / len(records) * 1e6
        with closing(Store(redis.url, timeout_ms=2000, patience_s=2)) as store:
            rows = dict(store.rows(keys.model_key("*")))
    models = {
        key.split("{")[1].rstrip("}"): {name.decode(): text.decode() for name, text in fields}
        for key, fields in rows.items()
    }
    return models, us


def main(arguments: list[str] | None = None) -> None:
    """Print both tables."""
    parser = ArgumentParser(description="Models of River in the flow: quality and cost.")
    parser.add_argument("--quick", action="store_true", help="the first 4,000 records of each log")
    parser.add_argument("--only", choices=["clusters", "propensity"], help="one table")
    options = parser.parse_args(arguments)
    most = 4000 if options.quick else None
    rees46 = recorded("rees46_2019-10-01.csv.gz", "rees46", most)
    replayed(rees46[:500], _settings())  # what compiles at a first start is none of the cost
    if options.only != "propensity":
        print(f"{'clusters':<14}{'k':>3}{'inertia':>9}{'silhouette':>12}{'us/event':>10}")
        for log, records in (("rees46", rees46), ("synthetic", synthetic(most))):
            for text in PROPOSED["clusters"]:
                models, us = replayed(records, _settings(f"clusters.estimator={text}"))
                one = models["clusters"]
                print(
                    f"{log:<14}{one['k']:>3}{one.get('inertia', '-'):>9}"
                    f"{one.get('silhouette', '-'):>12}{us:>10.0f}  {text or 'ours'}"
                )
    if options.only == "clusters":
        return
    print(
        f"\n{'propensity':<14}{'model':<15}{'cases':>7}{'AUC':>8}{'log loss':>10}{'us/event':>10}"
    )
    retail = recorded("online_retail_2010-12_2011-07.csv.gz", "online-retail", most)
    for log, records, chosen, names in (
        ("rees46", rees46, SESSIONS, ("p_buy_session",)),
        ("online_retail", retail, (), ("p_buy_30d", "p_churn")),
    ):
        for text in PROPOSED["propensity"]:
            settings = _settings(f"propensity.estimator={text}", *chosen)
            models, us = replayed(records, settings)
            for name in names:
                one = models[name]
                print(
                    f"{log:<14}{name:<15}{one['judged']:>7}{one.get('auc', '-'):>8}"
                    f"{one.get('log_loss', '-'):>10}{us:>10.0f}  {text or 'ours'}"
                )


def _settings(*overrides: str) -> Settings:
    return load(environment={}, overrides=overrides)


if __name__ == "__main__":
    main()
