"""Assignment: active shoppers at once, inactive ones as time passes; changes and profile fields."""

import numpy as np

from operators.segments.assignment import SegmentAssignment
from operators.shoppers.features import feature_row, feature_rows
from state.arrays import NO_ROW
from state.changes import Change
from state.config import Lifecycle, Rfm, Settings
from state.interactions import RowIndex
from state.profile_fields import ProfileUpdate
from state.shopper import Shopper
from state.times import DAY_MS

NAMES = ["ann", "bob"]
ROWS = np.array([0, 1], np.int32)
T = 1000 * DAY_MS


def assignment() -> SegmentAssignment:
    """Stages of 7 and 30 days; RFM from one buyer on."""
    return SegmentAssignment(
        Settings(
            rfm=Rfm(buyers_min=1),
            lifecycle=Lifecycle(new_days=7, dormant_days=30, reengaged_days=7, lost_days=90),
        )
    )


def activate(assigned: SegmentAssignment) -> list[Change]:
    """At T both shoppers are active for the first time, and Bob buys; both are in cluster 0."""
    ann = Shopper(known=False, first_ms=T, last_ms=T)
    bob = Shopper(
        known=False, first_ms=T, last_ms=T, purchases=1, revenue_micros=9, last_purchase_ms=T
    )
    raw = feature_rows([feature_row(one, 0.0, None) for one in (ann, bob)])
    at_ms = np.full(2, T)
    assigned.memberships.mark_active(ROWS, [False, True], at_ms)
    return assigned.assign_active(NAMES, ROWS, raw, np.array([0, NO_ROW]), T)


def test_active_shoppers_are_assigned_at_once() -> None:
    changes = activate(assignment())
    assert [change._replace(known=False) for change in changes] == [
        Change("enter", "ann", "cluster-0", T),
        Change("enter", "ann", "lifecycle-new", T),
        Change("enter", "bob", "lifecycle-new", T),
        Change("enter", "bob", "rfm-lost", T),
    ]
    assert {change.shopper for change in changes if change.known} == {"bob"}


def test_inactive_shoppers_change_their_stage_as_time_passes() -> None:
    assigned = assignment()
    activate(assigned)
    assert assigned.advance_time(NAMES, T + 7 * DAY_MS - 1) == ([], [])
    changes, updates = assigned.advance_time(NAMES, T + 8 * DAY_MS)
    assert [change[:4] for change in changes] == [
        (kind, name, f"lifecycle-{stage}", T + 7 * DAY_MS)
        for name in NAMES
        for kind, stage in (("leave", "new"), ("enter", "active"), ("stage", "active"))
    ]
    assert updates == [
        ProfileUpdate("ann", {"rfm": "", "stage": "active"}),
        ProfileUpdate("bob", {"rfm": "111", "stage": "active"}),
    ]


def test_a_removed_shopper_leaves_all_segments_and_has_no_fields() -> None:
    assigned = assignment()
    activate(assigned)
    assert [change[:4] for change in assigned.remove(1, "bob", T + 1)] == [
        ("leave", "bob", "rfm-lost", T + 1),
        ("leave", "bob", "lifecycle-new", T + 1),
    ]
    assert assigned.profile_updates(NAMES, ROWS[1:]) == [
        ProfileUpdate("bob", {"rfm": "", "stage": ""})
    ]
    assert assigned.remove(NO_ROW, "eve", T) == []


def test_profiles_of_a_crashed_run_are_corrected() -> None:
    assigned = assignment()
    activate(assigned)
    published = [Change("enter", name, "rfm-new", T) for name in ("bob", "ann", "eve")]
    assert assigned.corrected_profiles(published, RowIndex(NAMES)) == [
        ProfileUpdate("ann", {"rfm": "", "stage": "new"}),
        ProfileUpdate("bob", {"rfm": "111", "stage": "new"}),
        ProfileUpdate("ann", {"cluster": "cluster-0"}),
        ProfileUpdate("bob", {"cluster": "", "cluster_distance": ""}),
    ]


def test_a_restored_assignment_goes_on() -> None:
    assigned, restored = assignment(), assignment()
    activate(assigned)
    restored.restore(assigned.arrays())
    until_ms = T + 40 * DAY_MS
    assert restored.advance_time(NAMES, until_ms) == assigned.advance_time(NAMES, until_ms)
