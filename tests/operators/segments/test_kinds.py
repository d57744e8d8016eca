"""The kinds of segment: stored columns, profile fields and definitions, in one table."""

from operators.publish.profiles import remove_segment_fields
from operators.segments.assignment import SegmentAssignment
from operators.segments.kinds import EXCLUSIVE_KINDS, KINDS
from serving.segments import PROFILE_FIELDS
from state import keys
from state.config import Lifecycle, Rfm, Settings
from state.segments import RFM_NAMES, STAGES

FIELDS = ("cluster", "cluster_distance", "rfm", "stage", "p_buy_30d", "p_churn", "value_30d")


def test_each_kind_has_its_columns_fields_and_definitions() -> None:
    assert EXCLUSIVE_KINDS == {
        "cluster": ("cluster", "entered_ms"),
        "rfm": ("rfm", "rfm_ms"),
        "lifecycle": ("lifecycle", "lifecycle_ms"),
    }
    assert {kind.name: len(kind.definitions(Settings())) for kind in KINDS} == {
        "cluster": 0,
        "rfm": len(RFM_NAMES),
        "lifecycle": len(STAGES),
        "propensity": 5,
    }
    for kind in KINDS:
        assert {one.kind for one in kind.definitions(Settings())} <= {kind.name}


def test_a_shopper_who_left_all_segments_has_no_field_of_any_kind() -> None:
    assert remove_segment_fields("ann") == ("HDEL", keys.profile_key("ann"), *FIELDS)


def test_readers_explain_each_kind_by_fields_that_the_kind_writes() -> None:
    for kind in KINDS:
        assert {*PROFILE_FIELDS[kind.name]} <= {*kind.fields, "p_buy_session"}


def test_a_kind_that_is_turned_off_defines_nothing() -> None:
    settings = Settings(rfm=Rfm(enabled=False), lifecycle=Lifecycle(enabled=False))
    assert SegmentAssignment(settings).definitions == []
