"""A made-up shop with an experiment on its home page, and a planted lift: the raw events of its log.

Some visitors sign in, on one device or two, some are shown the wrong variant, some see both. Orders
are refunded in part, repeated, or come after the window. Events keep the order of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from operators.experiments.assign import variant_of
from state.times import DAY_MS, HOUR_MS
from tests.operators.experiments.files import START_MS

if TYPE_CHECKING:
    from pathlib import Path

    from operators.experiments.definitions import Experiment

Row = dict[str, Any]


class Shop:
    """Makes the log: `lift` is by how much the last variant raises the chance of an order."""

    def __init__(
        self, experiment: Experiment, *, lift: float, seed: int, chance: float = 0.5
    ) -> None:
        self._experiment, self._lift, self._chance = experiment, lift, chance
        self._rng = np.random.default_rng(seed)
        self._rows: list[Row] = []

    def log(self, visitors: int) -> list[Row]:
        """The events of so many visitors, oldest first; some are in it twice."""
        for number in range(visitors):
            self._visit(f"v{number}")
        again = self._rng.integers(0, len(self._rows), len(self._rows) // 50)
        rows = [*self._rows, *(self._rows[n] for n in again)]
        end_ms = START_MS + 58 * DAY_MS
        in_time = [row for row in rows if row["event_ts"] < end_ms]
        return sorted(in_time, key=lambda row: row["event_ts"])

    def _visit(self, name: str) -> None:
        rng, experiment = self._rng, self._experiment
        at_ms = START_MS + int(rng.integers(-DAY_MS, 56 * DAY_MS))
        variant = variant_of(experiment, name)
        others = [one for one in experiment.shares if one != variant]
        shown = others[0] if rng.random() < 0.02 else variant
        if rng.random() < 0.1:  # an order from before, at times with a refund that comes later
            self._order(name, at_ms - int(rng.integers(1, 90)) * DAY_MS)
        self._view(name, at_ms, shown)
        if rng.random() < 0.03:
            self._view(name, at_ms + HOUR_MS, others[0])  # counts as another variant
        user = f"u-{name}" if rng.random() < 0.3 else None
        if user:
            self._add("identify", at_ms + 2 * HOUR_MS, name, user_id=user)
            if rng.random() < 0.3:
                self._second_device(name, user, at_ms, variant)
        if rng.random() < 0.4:
            click = {"slot": "home" if rng.random() < 0.8 else "cart"}
            self._add("reco_click", at_ms + 60_000, name, reco=click, items=[{"item_id": "mug"}])
        lift = self._lift if variant == [*experiment.shares][-1] else 0
        for _ in range(2):
            if rng.random() < self._chance / 2 * (1 + lift):
                self._order(name, at_ms + int(rng.integers(0, 9 * DAY_MS)))

    def _second_device(self, name: str, user: str, at_ms: int, variant: str) -> None:
        """Before it signs in, another device may have its own variant; after it, the shopper's."""
        device = f"w-{name}"
        if self._rng.random() < 0.5:
            self._view(device, at_ms + 3 * HOUR_MS, variant_of(self._experiment, device))
        self._add("identify", at_ms + 4 * HOUR_MS, device, user_id=user)
        self._view(device, at_ms + 5 * HOUR_MS, variant)

    def _view(self, name: str, at_ms: int, variant: str) -> None:
        reco = {"slot": "home", "experiment": self._experiment.name, "variant": variant}
        self._add("reco_view", at_ms, name, reco=reco)

    def _order(self, name: str, at_ms: int) -> None:
        rng, order_id = self._rng, f"o{len(self._rows)}"
        value = round(float(rng.lognormal(4, 1)), 2)
        for late_ms in (0, HOUR_MS) if rng.random() < 0.05 else (0,):  # sent again under another id
            self._add("purchase", at_ms + late_ms, name, order_id=order_id, value=value)
        if rng.random() < 0.1:
            back = round(value * float(rng.random()) * 1.2, 2)
            refund_ms = at_ms + int(rng.integers(1, 20 * 24)) * HOUR_MS
            self._add("refund", refund_ms, name, order_id=order_id, value=back)

    def _add(self, kind: str, at_ms: int, name: str, **fields: object) -> None:
        event = {"event_id": f"e{len(self._rows)}", "type": kind, "event_ts": at_ms}
        self._rows.append({**event, "anonymous_id": name, **fields})


def write_log(path: Path, rows: list[Row]) -> None:
    """Write the events as a canonical log."""
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
