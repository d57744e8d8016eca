"""Takes back what a crashed run published of memberships and this run did not come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.publish.memberships import membership_writes
from operators.publish.profiles import update_writes
from operators.segments import compensation as membership_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.segments.assignment import SegmentAssignment
    from state.changes import Change
    from state.interactions import RowIndex
    from state.messages import Write


class Compensated(NamedTuple):
    """`changes` undo changes of the crashed run; `writes` are memberships and profiles as they are."""

    changes: list[Change]
    writes: list[Write]


def compensate(
    orphaned: Sequence[Change], assignment: SegmentAssignment, shoppers: RowIndex
) -> Compensated:
    """Compare what the change streams said last with memberships as they were restored."""
    changes, rewrites = membership_changes.compensate(
        assignment.memberships, orphaned, shoppers.get
    )
    writes = membership_writes(rewrites)
    corrected = assignment.corrected_profiles([*changes, *rewrites], shoppers)
    writes += update_writes(corrected)
    return Compensated(changes, writes)
