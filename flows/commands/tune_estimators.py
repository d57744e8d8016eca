"""Chooses among estimators for `penstock tune --estimators`, by time: on the first part, then the rest.

Each is tried in the flow itself, into a Redis of its own that ends with the command. To propose another
estimator to everybody: a line in `PROPOSED`.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flows.commands.replay import read_records
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_recordings
from flows.sources.files import LogFile
from operators.segments.estimators import check_named, named
from state import keys
from state.errors import DataError
from state.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.events import Event

    Records = Sequence[Event | DeadLetter]

OURS = ""
PROPOSED = {
    "clusters": (
        OURS,
        "river.cluster.KMeans(n_clusters=8, halflife=0.05)",
        "river.cluster.STREAMKMeans(n_clusters=8, chunk_size=100, halflife=0.5)",
        "river.cluster.DBSTREAM(clustering_threshold=1.5)",
    ),
    "propensity": (
        OURS,
        "river.linear_model.LogisticRegression(optimizer=river.optim.AdaGrad(0.1))",
        "river.naive_bayes.GaussianNB()",
        "river.tree.HoeffdingAdaptiveTreeClassifier()",
        "river.forest.ARFClassifier(n_models=5)",
    ),
}
"""What is tried for each section, besides the present one and `--candidate`."""
CHANCE_MODELS = ("p_buy_session", "p_buy_30d", "p_churn")
LOG_LOSS = "river.metrics.LogLoss()"
CASES_MIN = 200


class Measured(NamedTuple):
    """How good an estimator is: `score` (higher is better) and `cases`, the number it rests on, which
    are means and counts from the beginning of the log; `seconds` of CPU that the replay took; the
    number of `clusters`, if they were measured."""

    score: float
    cases: int
    seconds: float
    clusters: int = 0

    def since(self, before: Measured) -> Measured:
        """The measure of what came after a part of the log."""
        cases = self.cases - before.cases
        total = self.score * self.cases - before.score * before.cases
        return Measured(total / max(cases, 1), cases, self.seconds - before.seconds)


def choose_estimator(args: argparse.Namespace, settings: Settings, terminal: Console) -> str | None:
    """The expression that is better than the present one, on both parts of the log; None for none.

    Raises ConfigurationError for a candidate that cannot be used, DataError where the log says too
    little.
    """
    section = args.estimators
    present = getattr(settings, section).estimator
    candidates = [*dict.fromkeys([present, *PROPOSED[section], *args.candidate])]
    for candidate in candidates:
        tried = _with_estimator(settings, section, candidate)
        if f"{section}.estimator" in named(tried):
            check_named(tried, f"{section}.estimator")
    records = _read(args, settings)
    split = round(len(records) * (1 - args.confirm))
    with EmbeddedRedis() as redis:
        first = {}
        for candidate in candidates:
            tried = _with_estimator(settings, section, candidate)
            first[candidate] = found = _measure(records[:split], tried, section, redis)
            terminal.print(_line(section, candidate, found))
            if candidate == present and found.cases < CASES_MIN:
                raise DataError(
                    f"{args.file}: {found.cases} cases to choose on, {CASES_MIN} are the least"
                )
        best = max(candidates, key=lambda one: first[one].score)
        if best == present:
            return None
        terminal.print("on what came later:")
        later = {}
        for candidate in (present, best):
            tried = _with_estimator(settings, section, candidate)
            found = _measure(records, tried, section, redis)
            later[candidate] = found if section == "clusters" else found.since(first[candidate])
            terminal.print(_line(section, candidate, later[candidate]))
    return best if later[best].score > later[present].score else None


def _with_estimator(settings: Settings, section: str, text: str) -> Settings:
    changed = msgspec.structs.replace(getattr(settings, section), estimator=text)
    if section == "propensity":
        changed = msgspec.structs.replace(changed, metrics=(LOG_LOSS,))
    return msgspec.structs.replace(settings, **{section: changed})


def _read(args: argparse.Namespace, settings: Settings) -> Records:
    with (
        LogFile(args.file) as log,
        closing(read_records(log, args.format, settings.source.limits, Flag())) as records,
    ):
        return [*records]


def _measure(records: Records, settings: Settings, section: str, redis: EmbeddedRedis) -> Measured:
    redis.send_command("FLUSHALL")
    began_s = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        replay_recordings(
            {"log": lambda: iter(records)},
            settings,
            redis_url=redis.url,
            dead_letters=Path(folder) / "dead_letters.jsonl",
        )
    seconds = time.process_time() - began_s
    models = ("clusters",) if section == "clusters" else CHANCE_MODELS
    fields = [_fields(redis.url, settings, model) for model in models]
    if section == "clusters":
        (clusters,) = fields
        score = float(clusters.get("silhouette", -1.0))
        events, number = int(clusters.get("events", 0)), int(clusters.get("k", 0))
        return Measured(score, events, seconds, number)
    cases = [int(one.get("judged", 0)) for one in fields]
    losses = [float(one.get("LogLoss") or 0.0) for one in fields]
    total = sum(n * loss for n, loss in zip(cases, losses, strict=True))
    return Measured(-total / max(sum(cases), 1), sum(cases), seconds)


def _fields(url: str, settings: Settings, model: str) -> dict[str, str]:
    store = Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    with closing(store):
        rows = dict(store.rows(keys.model_key(model)))
    fields = rows.get(keys.model_key(model), [])
    return {name.decode(): value.decode() for name, value in fields}


def _line(section: str, candidate: str, found: Measured) -> str:
    if section == "clusters":
        measure = f"silhouette {found.score:.4f} of {found.clusters:2} clusters"
    else:
        measure = f"log loss {-found.score:.4f}"
    return f"{measure}  {found.cases:7} cases  {found.seconds:6.1f} s  {candidate or 'ours'}"
