"""What the personalization step calls, in this order: decisions and outcomes in, predictions and
segments out.

It changes its state in place. The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.segments.propensity import built_in_segments
from operators.segments.propensity import profile_fields as field_texts
from operators.segments.propensity.built_in_segments import ScoredRows, Thresholds
from operators.segments.propensity.decision_times import key_of
from operators.segments.propensity.feature_store import UNKNOWN, LatestFeatures
from operators.segments.propensity.features import VERSION
from operators.segments.propensity.profile_fields import (
    BUYS,
    CHURN,
    SESSION,
    VALUE,
    WEEKLY_MODELS,
    ProfileFieldTexts,
)
from operators.segments.propensity.session_model import SessionModel
from operators.segments.propensity.weekly_models import WeeklyModels
from operators.tables.table import Table, TableState, add_prefix, strip_prefix
from state.arrays import NO_ROW
from state.messages import Transition
from state.profile_fields import ProfileUpdate
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.propensity.chance_model import ChanceModel
    from operators.tables.table import Arrays
    from state import config
    from state.arrays import Rows, Times
    from state.messages import ShardOutput, Write
    from state.segments import SegmentDefinition

    Floats = NDArray[np.float64]

ROWS_PER_CHUNK = 65_536
PROFILES_PER_BATCH = 2_048
"""Profiles examined in one batch: the cost of a batch should not depend on the number of
profiles."""
ACTIVATIONS_PER_ROW = 0.5
"""All shoppers are assigned again every hour of event time, but not before so many activations a
shopper (it costs .5 us each), and at least once a day."""


class PropensityScores(NamedTuple):
    """Predictions for n shoppers, each float64[n], nan where there is none."""

    session: Floats
    buys: Floats
    churn: Floats
    value: Floats


class PropensityModels(TableState):
    """All models, and the built-in segments."""

    def __init__(self, settings: config.Propensity) -> None:
        self._settings = settings
        self.reset_session_model()
        self.weekly = WeeklyModels(settings)
        self._features = LatestFeatures()
        self._thresholds: Thresholds | None = None
        self._assigned_ms = 0
        self._activations = 0
        self._status = ""
        # Rows to examine, the last one first; not stored, since all are examined again anyway.
        self._stale: Rows = np.empty(0, np.int32)
        # Rows of the release before: segments and profile fields come from models that are gone.
        self._outdated: Rows = np.empty(0, np.int32)

    def reset_session_model(self) -> None:
        """Start the model of sessions from empty."""
        self.sessions = SessionModel(self._settings.labels_min)

    @property
    def session(self) -> ChanceModel:
        """The model of sessions."""
        return self.sessions.model

    @property
    def has_session_history(self) -> bool:
        """Whether predictions for sessions were published and are turned off now."""
        return not self._settings.sampled_share and bool(self.session.labels.any())

    @property
    def definitions(self) -> list[SegmentDefinition]:
        """The built-in segments as last published; none where they are turned off."""
        if not self._settings.horizon_days:
            return []
        return built_in_segments.definitions(self._settings.dormant_days, self._status)

    def changed_definitions(self) -> list[SegmentDefinition]:
        """Return the built-in segments if they changed since they were last published."""
        status = (
            "live" if self._thresholds is not None else field_texts.model_status(self.weekly.buys)
        )
        if status == self._status:
            return []
        self._status = status
        return self.definitions

    def observe_batch(
        self,
        outputs: Sequence[ShardOutput],
        names: Sequence[str],
        idle_ms: Callable[[], Times],
        watermark_ms: int,
    ) -> None:
        """Advance event time to the watermark before a batch, and take in the batch's observations.

        Call it before everything else of the batch: shoppers are as they were before it. `names`
        are by row; `idle_ms` gives for each row how long the shopper may be inactive until it is
        evicted.
        """
        self.sessions.learn(outputs, watermark_ms)
        if self._settings.horizon_days:
            self.weekly.advance_to(self._features, names, idle_ms, watermark_ms)
            for output in outputs:
                self.weekly.observe(output.observations)

    def update_features(self, rows: Rows, raw: Floats) -> None:
        """Store the feature rows [n, COLUMNS] of active shoppers."""
        if self._settings.horizon_days:
            self._activations += len(rows)
            self._features.update(rows, raw)

    def merge_or_erase(self, row: int, name: str, *, erased: bool) -> None:
        """Remove a shopper that was merged into another, or erased."""
        if erased:
            self.weekly.erase(key_of(name))
        if row != NO_ROW:
            self._features.remove_shoppers(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear rows of shoppers that are no longer in memory."""
        self._features.remove_shoppers(rows)

    def score(self, rows: Rows, raw: Floats) -> PropensityScores:
        """Predict for shoppers as of their last event, by their feature rows; NO_ROW is a legal
        row."""
        session = self.sessions.score(raw)
        if not self._settings.sampled_share:
            session[:] = np.nan
        weekly = np.full((3, len(rows)), np.nan)
        known = (rows >= 0) & (rows < self._features.rows)
        if self._settings.horizon_days:
            weekly[:, known] = self.weekly.predict(self._features.points(rows[known], 0))
        return PropensityScores(session, *weekly)

    def assign_active(
        self, shoppers: Sequence[str], rows: Rows, scores: PropensityScores, at_ms: Times
    ) -> list[Transition]:
        """Return the transitions of active shoppers."""
        if self._thresholds is None:
            return []
        return self._assign(self._thresholds, shoppers, rows, scores, at_ms)

    def advance(self, names: Sequence[str], clock_ms: int, *, last: bool) -> list[Transition]:
        """Assign all shoppers again if it is due or the `last` batch, as of an event time."""
        if not self._settings.horizon_days or clock_ms <= 0:
            return []
        if len(self._outdated):
            rows = self._features.live_rows()
            no_segments, at_ms = np.zeros(len(rows), np.uint8), np.full(len(rows), clock_ms)
            return self._set_segments(
                [names[row] for row in rows.tolist()], rows, no_segments, at_ms
            )
        since_ms, live = clock_ms - self._assigned_ms, self._features.live_rows()
        is_due = clock_ms // HOUR_MS > self._assigned_ms // HOUR_MS and (
            self._activations >= ACTIVATIONS_PER_ROW * len(live) or since_ms >= DAY_MS
        )
        if not is_due and not last:
            return []
        self._assigned_ms, self._activations, self._stale = clock_ms, 0, live[::-1]
        return self._assign_all(names, live, clock_ms)

    def add_profile_fields(
        self, profiles: Sequence[str], counts: Sequence[int], rows: Rows, scores: PropensityScores
    ) -> tuple[Sequence[str], Sequence[int]]:
        """Append the predictions to packed profile commands, and to their numbers of arguments."""
        steps = [shown.steps(values) for shown, values in zip(_FIELDS, scores, strict=True)]
        if len(rows) and self._settings.horizon_days:
            self._features.set_published(rows, np.column_stack(steps[1:]))
        return _append_fields(profiles, counts, steps)

    def rebuild_profile_fields(
        self, profiles: Sequence[str], counts: Sequence[int], rows: Rows, raw: Floats
    ) -> tuple[Sequence[str], Sequence[int]]:
        """The same for lost profiles, with the values published last; NO_ROW is a legal row."""
        steps = np.full((len(rows), len(_FIELDS)), UNKNOWN, np.int16)
        steps[:, 0] = _FIELDS[0].steps(self.score(rows, raw).session)
        known = (rows >= 0) & (rows < self._features.rows)
        steps[known, 1:] = self._features.published_steps[rows[known]]
        return _append_fields(profiles, counts, [*steps.T])

    def refresh_profiles(
        self, names: Sequence[str], clock_ms: int, *, last: bool
    ) -> list[ProfileUpdate]:
        """Return the changed profile fields of inactive shoppers: of some rows with each batch, of
        all with the `last` one of a recording."""
        if len(outdated := self._outdated):
            self._outdated = outdated[:0]
            shoppers = [names[row] for row in outdated.tolist() if names[row]]
            return [ProfileUpdate(name, dict.fromkeys(WEEKLY_MODELS, "")) for name in shoppers]
        limit = len(self._stale) if last else PROFILES_PER_BATCH
        rows, self._stale = self._stale[-limit:][::-1], self._stale[:-limit]
        rows = rows[self._features.last_ms(rows) > 0]
        if not len(rows) or not self.weekly.buys.ready:
            return []
        scores = self.weekly.predict(self._features.points(rows, clock_ms))
        steps = np.column_stack([s.steps(v) for s, v in zip(_FIELDS[1:], scores, strict=True)])
        changed = np.flatnonzero((steps != self._features.published_steps[rows]).any(axis=1))
        rows, steps = rows[changed], steps[changed]
        self._features.set_published(rows, steps)
        updates: list[ProfileUpdate] = []
        for row, row_steps in zip(rows.tolist(), steps.tolist(), strict=True):
            fields = {
                field.field: field.value(step)
                for field, step in zip(_FIELDS[1:], row_steps, strict=True)
            }
            updates.append(ProfileUpdate(names[row], fields))
        return updates

    def model_writes(self, now_ms: int) -> list[Write]:
        """Return the quality of each model."""
        writes: list[Write] = []
        if self._settings.sampled_share:
            writes += field_texts.chance_model_writes(SESSION, self.session, now_ms)
        if self._settings.horizon_days:
            writes += field_texts.chance_model_writes(BUYS, self.weekly.buys, now_ms)
            writes += field_texts.chance_model_writes(CHURN, self.weekly.churn, now_ms)
            writes += field_texts.amount_model_writes(VALUE, self.weekly.value, now_ms)
        return writes

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
            "decided": np.array([self._assigned_ms, self._activations]),
            "status": np.array([self._status]),
        }
        if self._thresholds is not None:
            scalars |= add_prefix("thresholds.", self._thresholds._asdict())
        for name, part in self._parts().items():
            scalars |= add_prefix(f"{name}.", part.scalars())
        return scalars

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned.

        The models of the release before had another meaning: only the shoppers' features are
        restored.
        """
        version = int(arrays["version"][0]) if "version" in arrays else 0
        if version == 1:
            self._features.restore(strip_prefix("latest.", arrays))
            self._outdated = self._features.live_rows()
        if version != VERSION:
            return
        self._assigned_ms, self._activations = arrays["decided"].tolist()
        self._status = str(arrays["status"][0])
        if "thresholds.chance" in arrays:
            self._thresholds = Thresholds(**strip_prefix("thresholds.", arrays))
        for name, part in self._parts().items():
            part.restore(strip_prefix(f"{name}.", arrays))

    def _parts(self) -> dict[str, Any]:
        return {"sessions": self.sessions, "weeks": self.weekly, "latest": self._features}

    def _assign_all(self, names: Sequence[str], live: Rows, clock_ms: int) -> list[Transition]:
        if not (self.weekly.buys.ready and self.weekly.value.ready and len(live)):
            return []
        starts = range(0, len(live), ROWS_PER_CHUNK)
        chunks = [live[start : start + ROWS_PER_CHUNK] for start in starts]
        scores_of = [self.weekly.predict(self._features.points(rows, clock_ms)) for rows in chunks]
        buys, churn, value = (np.concatenate(column) for column in zip(*scores_of, strict=True))
        self._thresholds = built_in_segments.compute_thresholds(buys, value)
        scores = PropensityScores(np.full(len(live), np.nan), buys, churn, value)
        at_ms = np.full(len(live), clock_ms)
        return self._assign(self._thresholds, names, live, scores, at_ms, by_row=True)

    def _assign(
        self,
        thresholds: Thresholds,
        names: Sequence[str],
        rows: Rows,
        scores: PropensityScores,
        at_ms: Times,
        *,
        by_row: bool = False,
    ) -> list[Transition]:
        """`names` are those of the rows, or with `by_row` all, by row."""
        features = self._features
        previous = features.segment_bits[rows]
        last_ms, bought = features.last_ms(rows), features.has_bought(rows)
        at_ms = np.maximum(at_ms, last_ms)
        scored = ScoredRows(scores.buys, scores.value, at_ms - last_ms, bought, previous)
        assigned = built_in_segments.assign(
            thresholds, scored, self._settings.dormant_days * DAY_MS
        )
        names = [names[row] for row in rows.tolist()] if by_row else names
        return self._set_segments(names, rows, assigned, at_ms)

    def _set_segments(
        self, names: Sequence[str], rows: Rows, assigned: NDArray[np.uint8], at_ms: Times
    ) -> list[Transition]:
        """Set the segments of rows, as bits, and return the transitions; `names` are those of the
        rows."""
        previous = self._features.segment_bits[rows]
        changed = np.flatnonzero(assigned != previous)
        self._features.set_segments(rows[changed], assigned[changed])
        transitions: list[Transition] = []
        for i in changed.tolist():
            name, was, now = names[i], int(previous[i]), int(assigned[i])
            transitions += [
                Transition(name, sid, bool(now & bit), int(at_ms[i]))
                for bit, sid in built_in_segments.IDS.items()
                if (was ^ now) & bit
            ]
        return transitions


_FIELDS = (
    ProfileFieldTexts(SESSION),
    ProfileFieldTexts(BUYS),
    ProfileFieldTexts(CHURN),
    ProfileFieldTexts(VALUE, amounts=True),
)


def _append_fields(
    heads: Sequence[str], counts: Sequence[int], steps: Sequence[NDArray[np.int16]]
) -> tuple[Sequence[str], Sequence[int]]:
    """Append a field to the commands for each step that has a value."""
    for shown, field_steps in zip(_FIELDS, steps, strict=True):
        has_value = field_steps != UNKNOWN
        if has_value.any():
            heads = [*map(str.__add__, heads, shown.texts(field_steps))]
            counts = (np.array(counts) + 2 * has_value).tolist()
    return heads, counts
