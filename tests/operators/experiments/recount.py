"""The units and sums of an experiment, counted again from the raw events with pandas.

Nothing here is shared with the product but the hash of variants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd  # type: ignore[import-untyped]

from operators.experiments.assign import variant_of

if TYPE_CHECKING:
    from operators.experiments.definitions import Experiment

METRICS = ("revenue", "conversion", "clicks")


def _events(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Each event once, with the shopper that its device has become."""
    events = pd.DataFrame(rows).drop_duplicates("event_id").reset_index(drop=True)
    signed_in = events[events["user_id"].notna()].groupby("anonymous_id")["user_id"].first()
    events["shopper"] = events["anonymous_id"].map(signed_in).fillna(events["anonymous_id"])
    return events


def units(
    rows: list[dict[str, Any]], experiment: Experiment
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The exposed units (first exposure and variant by shopper), and what was left out."""
    events = _events(rows)
    views = events[events["type"] == "reco_view"].sort_values("event_ts", kind="stable")
    reco = pd.DataFrame(list(views["reco"]), index=views.index)
    views = views.assign(variant=reco["variant"])
    is_out = views["event_ts"] < experiment.start_ms
    first: dict[str, tuple[int, str]] = {}
    both: set[str] = set()
    mismatch = 0
    for view in views[~is_out].itertuples():
        known = first.get(view.shopper)
        if known is not None and known[1] == view.variant:
            continue
        if view.variant != variant_of(experiment, view.anonymous_id):
            mismatch += 1
        elif known is None:
            first[view.shopper] = (view.event_ts, view.variant)
        else:
            both.add(view.shopper)
    kept = {name: unit for name, unit in first.items() if name not in both}
    table = pd.DataFrame.from_dict(kept, orient="index", columns=["first_ms", "variant"])
    return table, {"both": len(both), "mismatch": mismatch, "other_time": int(is_out.sum())}


def values(
    rows: list[dict[str, Any]], experiment: Experiment, *, before: bool = False
) -> pd.DataFrame:
    """Variant and metrics (whole millionths) of each unit with a complete window, by shopper."""
    events = _events(rows)
    table, _ = units(rows, experiment)
    decide = experiment.decide
    table = table[table["first_ms"] + decide.window_ms <= events["event_ts"].max()]
    start = table["first_ms"] - (decide.before_ms if before else 0)
    end = table["first_ms"] + (0 if before else decide.window_ms)
    joined = events.join(start.rename("start"), on="shopper", how="inner")
    joined = joined.join(end.rename("end"), on="shopper")
    inside = joined[(joined["event_ts"] >= joined["start"]) & (joined["event_ts"] < joined["end"])]
    inside = inside.assign(micros=(inside["value"].fillna(0) * 1e6).round().astype("int64"))
    key = ["shopper", "order_id"]
    bought = inside[inside["type"] == "purchase"].groupby(key)["micros"].first()
    back = inside[inside["type"] == "refund"].groupby(key)["micros"].sum()
    left = (bought - back.reindex(bought.index, fill_value=0)).clip(lower=0)
    revenue = left.groupby("shopper").sum()
    if decide.cut_micros:
        revenue = revenue.clip(upper=decide.cut_micros)
    clicks = inside[inside["type"] == "reco_click"]
    clicks = clicks[clicks["reco"].map(lambda reco: reco["slot"] == experiment.slot).astype(bool)]
    result = pd.DataFrame({"variant": table["variant"]})
    result["revenue"] = revenue.reindex(table.index, fill_value=0)
    has_order = left.groupby("shopper").size().reindex(table.index, fill_value=0) > 0
    result["conversion"] = has_order * 1_000_000
    counted = clicks.groupby("shopper").size().reindex(table.index, fill_value=0)
    result["clicks"] = counted * 1_000_000
    return result
