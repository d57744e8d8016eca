"""What the step that trains propensity calls, in the order of the methods here.

It changes its state in place. The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity import model_report
from operators.segments.propensity.decision_times import key_of
from operators.segments.propensity.feature_store import LatestFeatures
from operators.segments.propensity.features import VERSION
from operators.segments.propensity.profile_fields import (
    BUYS,
    CHURN,
    FIELDS,
    NO_STEP,
    SESSION,
    VALUE,
    PropensityScores,
)
from operators.segments.propensity.profile_refresh import ProfileRefresh
from operators.segments.propensity.ranked_segments import RankedSegments
from operators.segments.propensity.session_model import SessionModel
from operators.segments.propensity.weekly_models import WeeklyModels
from operators.tables.table import Table, TableState, add_prefix, strip_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.segments.propensity.chance_model import ChanceModel
    from operators.tables.table import Arrays, Snapshottable
    from state import config
    from state.arrays import Rows, Times
    from state.entries import Transition
    from state.messages import ShardOutput, Write
    from state.profile_fields import ProfileUpdate
    from state.training import PropensityEvents

    Floats = NDArray[np.float64]

ROWS_PER_CHUNK = 65_536


class PropensityModels(TableState):
    """All models, and the built-in segments."""

    def __init__(self, settings: config.Propensity, errors: ProcessingErrors | None = None) -> None:
        self._settings = settings
        self._errors = errors
        self._is_weekly = bool(settings.horizon_days)
        self.reset_session_model()
        self.weekly = WeeklyModels(settings, errors)
        self._features = LatestFeatures()
        self._segments = RankedSegments(self._features, settings.dormant_days)
        self._refresh = ProfileRefresh(self._features, self.weekly)

    def observe_batch(
        self,
        outputs: Sequence[ShardOutput | PropensityEvents],
        names: Sequence[str],
        idle_ms: Callable[[], Times],
        watermark_ms: int,
    ) -> None:
        """Advance event time to the watermark before a batch, and take in the batch's observations.

        Call it before everything else of the batch: shoppers are as they were before it. `names` are by
        row; `idle_ms` gives for each row how long the shopper may be inactive until it is evicted.
        """
        self.sessions.learn(outputs, watermark_ms)
        if self._is_weekly:
            self.weekly.advance_to(self._features, names, idle_ms, watermark_ms)
            for output in outputs:
                self.weekly.observe(output.observations)

    def erase(self, name: str) -> None:
        """Learn nothing from the pending decisions about a shopper who was erased."""
        self.weekly.erase(key_of(name))

    def merge(self, row: int, into: int) -> None:
        """Drop the features of a shopper that was merged into another, or erased."""
        self._features.remove_shoppers(np.array([row], np.int32))

    def update_features(self, rows: Rows, raw: Floats) -> None:
        """Store the feature rows [n, COLUMNS] of active shoppers."""
        if self._is_weekly:
            self._segments.count_activations(len(rows))
            self._features.update(rows, raw)

    def score(self, rows: Rows, raw: Floats) -> PropensityScores:
        """Predict for shoppers as of their last event, by their feature rows; NO_ROW is a legal row."""
        session = self.sessions.score(raw)
        if not self._settings.sampled_share:
            session[:] = np.nan
        weekly = np.full((3, len(rows)), np.nan)
        known = (rows >= 0) & (rows < self._features.rows)
        if self._is_weekly:
            weekly[:, known] = self.weekly.predict(self._features.points(rows[known], 0))
        return PropensityScores(session, *weekly)

    def assign_active(
        self, shoppers: Sequence[str], rows: Rows, scores: PropensityScores, at_ms: Times
    ) -> list[Transition]:
        """Return the transitions of active shoppers."""
        return self._segments.assign_active(shoppers, rows, scores, at_ms)

    def publish_steps(self, rows: Rows, scores: PropensityScores) -> NDArray[np.int16]:
        """Return the steps [n, fields] that profiles show of predictions, and note them as published."""
        steps = np.column_stack(
            [field.steps(values) for field, values in zip(FIELDS, scores, strict=True)]
        )
        if len(rows) and self._is_weekly:
            self._features.set_published(rows, steps[:, 1:])
        return steps

    def published_steps(self, rows: Rows, raw: Floats) -> NDArray[np.int16]:
        """Return the steps that lost profiles showed last; NO_ROW is a legal row."""
        steps = np.full((len(rows), len(FIELDS)), NO_STEP, np.int16)
        steps[:, 0] = FIELDS[0].steps(self.score(rows, raw).session)
        known = (rows >= 0) & (rows < self._features.rows)
        steps[known, 1:] = self._features.published_steps[rows[known]]
        return steps

    def advance(self, names: Sequence[str], clock_ms: int, *, last: bool) -> list[Transition]:
        """Assign all shoppers again if it is due or the `last` batch, as of an event time."""
        if not self._is_weekly or clock_ms <= 0:
            return []
        rows = self._features.live_rows()
        if self._refresh.removes_fields:
            return self._segments.remove_all(names, rows, clock_ms)
        if not self._segments.start_round(clock_ms, len(rows), last=last):
            return []
        self._refresh.restart(rows)
        if not (self.weekly.buys.ready and self.weekly.value.ready and len(rows)):
            return []
        return self._segments.assign_all(names, rows, self._score_all(rows, clock_ms), clock_ms)

    def refresh_profiles(
        self, names: Sequence[str], clock_ms: int, *, last: bool
    ) -> list[ProfileUpdate]:
        """Return the changed profile fields of inactive shoppers: of some rows with each batch, of all
        with the `last` one of a recording."""
        return self._refresh.refresh(names, clock_ms, last=last)

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear rows of shoppers that are no longer in memory."""
        self._features.remove_shoppers(rows)

    @property
    def status(self) -> str:
        """The status of the built-in segments."""
        return "live" if self._segments.is_live else model_report.model_status(self.weekly.buys)

    @property
    def is_weekly(self) -> bool:
        """Whether there are weekly models, and the segments by them."""
        return self._is_weekly

    def last_ms(self, rows: Rows) -> Times:
        """When the shopper of each row was last active, 0 for a row without features."""
        known = rows < self._features.rows
        last_ms = np.zeros(len(rows), np.int64)
        last_ms[known] = self._features.last_ms(rows[known])
        return last_ms

    def model_writes(self, now_ms: int) -> list[Write]:
        """Return the quality of each model."""
        writes: list[Write] = []
        if self._settings.sampled_share:
            writes += model_report.chance_model_writes(SESSION, self.session, now_ms)
        if self._is_weekly:
            writes += model_report.chance_model_writes(BUYS, self.weekly.buys, now_ms)
            writes += model_report.chance_model_writes(CHURN, self.weekly.churn, now_ms)
            writes += model_report.amount_model_writes(VALUE, self.weekly.value, now_ms)
        return writes

    @property
    def session(self) -> ChanceModel:
        """The model of sessions."""
        return self.sessions.model

    @property
    def has_session_history(self) -> bool:
        """Whether predictions for sessions were published and are turned off now."""
        return not self._settings.sampled_share and bool(self.session.labels.any())

    def reset_session_model(self) -> None:
        """Start the model of sessions from empty."""
        self.sessions = SessionModel(self._settings, self._errors)

    def tables(self) -> Sequence[Table]:
        """Pending decisions, and the features of each shopper."""
        return [
            table.prefixed(f"{name}.")
            for name, part in self._parts().items()
            for table in part.tables()
        ]

    def scalars(self) -> Arrays:
        """Models, evaluations and thresholds."""
        scalars: dict[str, NDArray[Any]] = {
            "version": np.array([VERSION]),
            **self._segments.scalars(),
        }
        for name, part in self._parts().items():
            scalars |= add_prefix(f"{name}.", part.scalars())
        return scalars

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned.

        The models of the release before had another meaning: only the shoppers' features are restored.
        """
        version = int(arrays["version"][0]) if "version" in arrays else 0
        if version == 1:
            self._features.restore(strip_prefix("latest.", arrays))
            self._refresh.remove_fields_of(self._features.live_rows())
        if version != VERSION:
            return
        self._segments.restore(arrays)
        for name, part in self._parts().items():
            part.restore(strip_prefix(f"{name}.", arrays))

    def _parts(self) -> dict[str, Snapshottable]:
        """The stored parts, by their stored names."""
        return {"sessions": self.sessions, "weeks": self.weekly, "latest": self._features}

    def _score_all(self, rows: Rows, clock_ms: int) -> PropensityScores:
        chunks = [
            rows[start : start + ROWS_PER_CHUNK] for start in range(0, len(rows), ROWS_PER_CHUNK)
        ]
        scores = [self.weekly.predict(self._features.points(chunk, clock_ms)) for chunk in chunks]
        buys, churn, value = (np.concatenate(column) for column in zip(*scores, strict=True))
        return PropensityScores(np.full(len(rows), np.nan), buys, churn, value)
