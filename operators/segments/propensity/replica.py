"""What personalization knows of propensity, which is trained elsewhere: its segments and status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import FIELDS, NO_STEP
from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state import config
    from state.segments import SegmentDefinition
    from state.training import PropensityTrained


class PropensityReplica(TableState):
    """The status that was published last is stored, and whether predictions for sessions that are
    turned off were removed from profiles."""

    def __init__(self, settings: config.Propensity) -> None:
        self._settings = settings
        self._published_status = self._status = ""
        self._has_session_history = False
        self._session_removed = False

    def apply(self, trained: PropensityTrained) -> None:
        """Take in what was trained of a batch."""
        self._status = trained.status
        self._has_session_history = trained.has_session_history
        self._session_removed &= trained.has_session_history

    def changed_definitions(self) -> list[SegmentDefinition]:
        """The built-in segments if they changed since they were last published."""
        if self._status == self._published_status:
            return []
        self._published_status = self._status
        return self.definitions

    @property
    def definitions(self) -> list[SegmentDefinition]:
        """The built-in segments as last published; none where they are turned off."""
        if not self._settings.horizon_days:
            return []
        return built_in_segments.definitions(self._settings.dormant_days, self._published_status)

    @property
    def has_session_history(self) -> bool:
        """Whether profiles show predictions for sessions, which are turned off now."""
        return self._has_session_history and not self._session_removed

    def mark_session_removed(self) -> None:
        """No profile shows a prediction for a session any more."""
        self._session_removed = True

    def scalars(self) -> Arrays:
        """What is stored, under the names of when the models were here too."""
        return {
            "status": np.array([self._published_status]),
            "session_removed": np.array([self._session_removed]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `scalars` returned."""
        if "status" in arrays:
            self._published_status = self._status = str(arrays["status"][0])
        if "session_removed" in arrays:
            self._session_removed = bool(arrays["session_removed"][0])


def published_steps_of(
    trained: Sequence[PropensityTrained], shoppers: Sequence[str]
) -> NDArray[np.int16]:
    """The steps [n, fields] that the profiles of shoppers show now, NO_STEP for none.

    Of several batches the newest counts.
    """
    steps = np.full((len(shoppers), len(FIELDS)), NO_STEP, np.int16)
    of_batch = [np.frombuffer(one.steps, np.int16).reshape(-1, len(FIELDS)) for one in trained]
    if len(trained) == 1 and trained[0].shoppers == shoppers:
        return of_batch[0]
    found = {
        name: row
        for one, rows in zip(trained, of_batch, strict=True)
        for name, row in zip(one.shoppers, rows, strict=True)
    }
    for index, name in enumerate(shoppers):
        if name in found:
            steps[index] = found[name]
    return steps
