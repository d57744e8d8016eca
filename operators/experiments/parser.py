"""From `experiments.yaml` to experiments: strict, and every error names file, line and path, and
what to write.

The format is described in docs/experiments.md.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from operators.experiments.assign import BUCKETS
from operators.experiments.definitions import METRICS, UNITS, Decision, Experiment, Experiments
from operators.segments.rules.quantities import parse_share_micros
from operators.segments.rules.yaml_nodes import parse_yaml, suggest
from operators.segments.rules.yaml_values import duration_ms_of
from state.money import MICROS_PER_UNIT, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operators.segments.rules.yaml_nodes import YamlNode

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_HOLDOUT = "holdout"
_FIELDS = ("question", "unit", "where", "variants", "decide", "guard", "start", "end")
_DECIDE_FIELDS = ("metric", "window", "least_effect", "alpha", "tuned_to", "cut", "before")
_MICROS_PER_BUCKET = MICROS_PER_UNIT // BUCKETS
_TUNED_TO_MAX = 1_000_000_000


def parse_experiments(text: str, source: str) -> Experiments:
    """The experiments of a file, in its order. Raises ConfigurationError for whatever is wrong with
    it.
    """
    root = parse_yaml(text, source)
    if root is None:
        return Experiments()
    entries = root.fields("experiments by name")
    holdout_buckets = 0
    if _HOLDOUT in entries:
        holdout_buckets = _holdout(entries.pop(_HOLDOUT))
    experiments: list[Experiment] = []
    for name, entry in entries.items():
        experiment = _experiment(name, entry)
        _check_overlap(entry, experiment, experiments)
        experiments.append(experiment)
    return Experiments(tuple(experiments), holdout_buckets)


def _holdout(entry: YamlNode) -> int:
    fields = _fields(entry, ("share",), "the hold-out", required=("share",))
    buckets = _share(fields["share"])
    if buckets > BUCKETS // 2:
        fields["share"].raise_error("is more than half of the shop: write at most `50 %`")
    return buckets


def _experiment(name: str, entry: YamlNode) -> Experiment:
    if not _ID.fullmatch(name):
        entry.raise_error("a name has small letters, digits and hyphens, at most 64")
    required = ("where", "variants", "decide", "start")
    fields = _fields(entry, _FIELDS, "an experiment", required=required)
    decide = _decision(fields["decide"])
    start_ms = _day(fields["start"])
    end_ms = _day(fields["end"]) if "end" in fields else 0
    if end_ms and end_ms <= start_ms:
        fields["end"].raise_error("is not after the start")
    return Experiment(
        name=name,
        question=fields["question"].text("what you want to know") if "question" in fields else "",
        unit=_choice(fields["unit"], UNITS) if "unit" in fields else UNITS[0],
        slot=_slot(fields["where"]),
        shares=_shares(fields["variants"]),
        decide=decide,
        guard=_guard(fields["guard"], decide.metric) if "guard" in fields else (),
        start_ms=start_ms,
        end_ms=end_ms,
    )


def _slot(entry: YamlNode) -> str:
    return _fields(entry, ("slot",), "`where:`", required=("slot",))["slot"].text("a slot")


def _shares(entry: YamlNode) -> dict[str, int]:
    fields = entry.fields("shares by variant, as in `{control: 50 %, varied: 50 %}`")
    for variant, share in fields.items():
        if not _ID.fullmatch(variant):
            share.raise_error("a variant has small letters, digits and hyphens, at most 64")
    shares = {variant: _share(share) for variant, share in fields.items()}
    if len(shares) < 2:
        entry.raise_error("has one variant: name the control first, then what is tried")
    for variant, share in fields.items():
        if not shares[variant]:
            share.raise_error("is 0 %: take the variant out")
    if sum(shares.values()) != BUCKETS:
        entry.raise_error(f"adds up to {sum(shares.values()) / 100:g} %: make it 100 %")
    return shares


def _share(entry: YamlNode) -> int:
    micros = parse_share_micros(entry.text("a share, as in `50 %`"))
    if micros is None:
        entry.raise_error("is not a share: write `50 %`, at most `100 %`")
    buckets, rest = divmod(micros, _MICROS_PER_BUCKET)
    if rest:
        entry.raise_error("is finer than .01 %: round it")
    return buckets


def _decision(entry: YamlNode) -> Decision:
    required = ("metric", "window", "least_effect")
    fields = _fields(entry, _DECIDE_FIELDS, "`decide:`", required=required)
    metric = _choice(fields["metric"], METRICS)
    if "cut" in fields and metric != "revenue":
        fields["cut"].raise_error(f"is an amount of revenue, and the metric is `{metric}`")
    return Decision(
        metric=metric,
        window_ms=duration_ms_of(fields["window"]),
        least_effect=_effect(fields["least_effect"]),
        alpha=_number(fields["alpha"], 0.0001, 0.2) if "alpha" in fields else 0.05,
        tuned_to=round(_number(fields["tuned_to"], 100, _TUNED_TO_MAX))
        if "tuned_to" in fields
        else 5_000,
        cut_micros=to_micros(_number(fields["cut"], 0.01, 1e9)) if "cut" in fields else 0,
        before_ms=duration_ms_of(fields["before"]) if "before" in fields else 0,
    )


def _effect(entry: YamlNode) -> float:
    micros = parse_share_micros(entry.text("a relative difference, as in `2 %`"))
    if not micros:
        entry.raise_error("is not a relative difference: write one above 0, as in `2 %`")
    return micros / MICROS_PER_UNIT


def _guard(entry: YamlNode, decided_by: str) -> tuple[str, ...]:
    names: list[str] = []
    for one in entry.items("metrics that must not get worse, as in `[conversion]`"):
        metric = _choice(one, METRICS)
        if metric == decided_by or metric in names:
            one.raise_error(f"`{metric}` is there already: take it out")
        names.append(metric)
    return tuple(names)


def _check_overlap(entry: YamlNode, experiment: Experiment, others: Iterable[Experiment]) -> None:
    """Refuse two experiments on one slot at one time: each would change what the other measures."""
    for other in others:
        other_ends_before = other.end_ms and other.end_ms <= experiment.start_ms
        ends_before_other = experiment.end_ms and experiment.end_ms <= other.start_ms
        if other.slot == experiment.slot and not (other_ends_before or ends_before_other):
            entry.raise_error(
                f"runs on the slot `{other.slot}` while `{other.name}` does: give one of them an "
                "`end:` that is not after the start of the other"
            )


def _day(entry: YamlNode) -> int:
    text = entry.text("a day, as in `2026-12-01`")
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        entry.raise_error(f"`{text}` is not a day: write it as `2026-12-01`")
    return int(day.timestamp()) * 1000


def _number(entry: YamlNode, low: float, high: float) -> float:
    text = entry.text("a number")
    try:
        number = float(text)
    except ValueError:
        entry.raise_error(f"`{text}` is not a number")
    if not low <= number <= high:
        entry.raise_error(f"is {text}: write a number from {low:,g} to {high:,g}")
    return number


def _choice(entry: YamlNode, names: Iterable[str]) -> str:
    known = tuple(names)
    name = entry.text(f"one of {', '.join(known)}")
    if name not in known:
        entry.raise_error(
            f"there is no `{name}`{suggest(name, known)}: it is one of {', '.join(known)}"
        )
    return name


def _fields(
    entry: YamlNode, allowed: Iterable[str], owner: str, *, required: Iterable[str]
) -> Mapping[str, YamlNode]:
    names = tuple(allowed)
    fields = entry.fields(f"what {owner} has: {', '.join(names)}")
    entry.check_keys(fields, names, owner)
    for name in required:
        if name not in fields:
            entry.raise_error(f"`{name}:` is missing")
    return fields
