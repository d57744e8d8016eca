"""Keys of retired segments in a Redis that was restored from an older time: all are deleted."""

from operators.segments.clusters.replica import ClusterReplica
from operators.segments.configured_segments import ConfiguredSegments, built_in_definitions
from operators.segments.membership_index import MembershipIndex
from operators.segments.propensity.replica import PropensityReplica
from operators.segments.retired_keys import delete_segment_keys, deletion_writes
from state import keys
from state.config import Propensity, Settings
from state.segments import lifecycle_definitions, rfm_definitions

DAYS = ("new_days", "dormant_days", "reengaged_days", "lost_days")
PROPENSITY = {
    f"propensity-{name}"
    for name in ("ready-to-buy", "long-shots", "high-value", "potential-vips", "dormant")
}


def configured(active: list[str]) -> ConfiguredSegments:
    """A run with RFM and the rule vip; lifecycle and propensity are turned off, clusters not begun."""
    settings = Settings(propensity=Propensity(horizon_days=0))
    fixed = {"vip", *(one.id for one in rfm_definitions())}
    return ConfiguredSegments(
        MembershipIndex(active),
        ClusterReplica(),
        PropensityReplica(settings.propensity),
        frozenset(fixed),
        built_in_definitions(settings),
    )


def test_every_segment_that_is_neither_configured_nor_active_is_deleted() -> None:
    writes = list(deletion_writes(configured(["vip", "lifecycle-new"]), ["vip", "old-rule"]))
    stages = {one.id for one in lifecycle_definitions(dict.fromkeys(DAYS, 1))} - {"lifecycle-new"}
    gone = {"old-rule", *stages, *PROPENSITY}
    deleted = {str(write[1]) for write in writes if write[0] == "DEL"}
    assert deleted == {str(write[1]) for sid in gone for write in delete_segment_keys(sid)}
    overlaps = {write[1]: {*write[2:]} for write in writes if write[0] == "HDEL"}
    assert overlaps[keys.overlap_key("vip")] == overlaps[keys.overlap_key("lifecycle-new")] == gone
    retired = {write[1] for write in writes if write[0] == "HSET" and "retired" in write}
    assert retired == {keys.definition_key(sid) for sid in gone - {"old-rule"}}
