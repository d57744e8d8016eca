"""Keeps the profiles of inactive shoppers up to date: their predictions change as time passes.

Some profiles are examined with each batch, all with the last one of a recording. Nothing of this is
stored: after a restart all profiles are examined again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.propensity.profile_fields import FIELDS, WEEKLY_MODELS
from state.profile_fields import ProfileUpdate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.segments.propensity.feature_store import LatestFeatures
    from operators.segments.propensity.weekly_models import WeeklyModels
    from state.arrays import Rows

PROFILES_PER_BATCH = 2_048
"""Profiles examined in one batch: the cost of a batch should not depend on the number of profiles."""


class ProfileRefresh:
    """The rows to examine, the last one first, and the rows whose fields are to be removed."""

    def __init__(self, features: LatestFeatures, models: WeeklyModels) -> None:
        self._features = features
        self._models = models
        self._stale: Rows = np.empty(0, np.int32)
        # Rows of the release before: their profile fields come from models that are gone.
        self._outdated: Rows = np.empty(0, np.int32)

    @property
    def removes_fields(self) -> bool:
        """Whether the next call of `refresh` removes the fields of an older release."""
        return bool(len(self._outdated))

    def remove_fields_of(self, rows: Rows) -> None:
        """Let the next call of `refresh` remove the fields of these rows."""
        self._outdated = rows

    def restart(self, rows: Rows) -> None:
        """Examine these rows again."""
        self._stale = rows[::-1]

    def refresh(self, names: Sequence[str], clock_ms: int, *, last: bool) -> list[ProfileUpdate]:
        """Return the fields that changed of some profiles, with `last` of all. `names` are by row."""
        if self.removes_fields:
            rows, self._outdated = self._outdated, self._outdated[:0]
            removed = dict.fromkeys(WEEKLY_MODELS, "")
            return [ProfileUpdate(names[row], removed) for row in rows.tolist() if names[row]]
        limit = len(self._stale) if last else PROFILES_PER_BATCH
        rows, self._stale = self._stale[-limit:][::-1], self._stale[:-limit]
        rows = rows[self._features.last_ms(rows) > 0]
        if not len(rows) or not self._models.buys.ready:
            return []
        predictions = self._models.predict(self._features.points(rows, clock_ms))
        weekly = FIELDS[1:]
        steps = np.column_stack([f.steps(v) for f, v in zip(weekly, predictions, strict=True)])
        changed = np.flatnonzero((steps != self._features.published_steps[rows]).any(axis=1))
        rows, steps = rows[changed], steps[changed]
        self._features.set_published(rows, steps)
        return [
            ProfileUpdate(
                names[row], {f.field: f.value(step) for f, step in zip(weekly, own, strict=True)}
            )
            for row, own in zip(rows.tolist(), steps.tolist(), strict=True)
        ]
