"""Undoes what a crashed run published of memberships and did not store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.segments.membership_index import MembershipIndex
    from state.changes import Change


def compensate(
    memberships: MembershipIndex, orphaned: Iterable[Change], row_of: Callable[[str], int]
) -> tuple[list[Change], list[Change]]:
    """Compare the changes that a crashed run published with the memberships that were restored.

    `orphaned` has the last published change of each membership; `row_of` gives a shopper's row,
    or NO_ROW. Returns the changes to publish, which undo what does not hold, and the
    memberships to write again as they are. These are needed because a run writes the change
    streams first: its other writes may be cut off anywhere, also between a shopper's hash and
    the members of the segment.
    """
    changes: list[Change] = []
    rewrites: list[Change] = []
    for change in orphaned:
        since_ms = dict(memberships.memberships_of(row_of(change.shopper))).get(change.segment)
        if since_ms is None:
            if change.kind == "enter":
                changes.append(change._replace(kind="leave"))
            else:
                rewrites.append(change)
        elif change.kind == "leave":
            changes.append(change._replace(kind="enter", at_ms=since_ms))
        else:
            rewrites.append(change._replace(at_ms=since_ms))
    return changes, rewrites
