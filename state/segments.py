"""What a segment is: its definition, its line in the registry of all, and the ids of the built-in ones.

Change freely: names and descriptions. Never: the ids, which pages and marketers refer to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import orjson

from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.messages import Arguments, Write

SegmentKind = Literal["cluster", "rfm", "lifecycle", "propensity", "rule"]

RETIRED = "retired"
"""The status of a segment that is no more."""


class SegmentDefinition(msgspec.Struct, frozen=True):
    """A segment in words. `rule` says who belongs to it; a new `version` is another group of people."""

    id: str
    kind: SegmentKind
    name: str
    description: str
    rule: str
    version: int = 1
    status: str = "live"


def cluster_segment_id(cluster: int) -> str:
    """The segment of a cluster; the id stays while the centre moves."""
    return f"cluster-{cluster}"


def cluster_of_segment(segment: str) -> int | None:
    """The cluster of a segment, None for a segment of another kind.

    >>> cluster_of_segment("cluster-3"), cluster_of_segment("rfm-new")
    (3, None)
    """
    kind, _, number = segment.partition("-")
    return int(number) if kind == "cluster" and number.isdecimal() else None


def rfm_segment_id(name: str) -> str:
    """The segment of one of `RFM_NAMES`."""
    return f"rfm-{name}"


def lifecycle_segment_id(stage: str) -> str:
    """The segment of one of `STAGES`."""
    return f"lifecycle-{stage}"


def cluster_definition(cluster: int, name: str, version: int) -> SegmentDefinition:
    """The segment of a cluster, under its current name."""
    description = "Shoppers alike in how they visit and buy, found by clustering."
    return SegmentDefinition(
        cluster_segment_id(cluster), "cluster", name, description, "nearest centre", version
    )


def definition_writes(
    definitions: Iterable[SegmentDefinition], updated_ms: int | None = None
) -> list[Write]:
    """Each definition, and its line in the registry.

    `updated_ms` is the time of the change; None when an unchanged definition is written again.
    """
    writes: list[Write] = []
    for definition in definitions:
        summary = {
            "kind": definition.kind,
            "version": definition.version,
            "status": definition.status,
            "name": definition.name,
        }
        fields: Arguments = ("HSET", keys.definition_key(definition.id), "name", definition.name)
        fields += ("kind", definition.kind, "description", definition.description)
        fields += (
            "version",
            definition.version,
            "status",
            definition.status,
            "rule",
            definition.rule,
        )
        if updated_ms is not None:
            fields += ("updated_ms", updated_ms)
        writes += [
            fields,
            ("HSET", keys.registry_key(), definition.id, orjson.dumps(summary).decode()),
        ]
    return writes


RFM_NAMES = {
    "champions": ("Champions", "Bought lately, often, and for much."),
    "loyal": ("Loyal", "Buy often, not only just now."),
    "potential-loyalist": ("Potential loyalist", "Bought lately, more than once."),
    "new": ("New", "Bought for the first time just now."),
    "promising": ("Promising", "Bought for the first time lately."),
    "need-attention": ("Need attention", "In the middle in everything."),
    "about-to-sleep": ("About to sleep", "Seldom, and some time ago: nearly gone."),
    "at-risk": ("At risk", "Bought often, but long ago."),
    "cannot-lose": ("Cannot lose", "Among the best, but long ago."),
    "hibernating": ("Hibernating", "Seldom, for little, long ago."),
    "lost": ("Lost", "The least of all, longest ago."),
}
"""By id: name, and who they are."""

RFM_GRID = (
    ("new", "potential-loyalist", "potential-loyalist", "champions", "champions"),
    ("promising", "potential-loyalist", "potential-loyalist", "loyal", "loyal"),
    ("about-to-sleep", "about-to-sleep", "need-attention", "loyal", "loyal"),
    ("hibernating", "hibernating", "at-risk", "at-risk", "cannot-lose"),
    ("lost", "hibernating", "at-risk", "at-risk", "cannot-lose"),
)
"""Names by recency (5 first) and by frequency and money (1 first).

The eleven names are those of Putler, "RFM Analysis for Successful Customer Segmentation", whose ranges
overlap; which cell has which name is the grid of recency by frequency that is in common use, with
"lost" taken out of the corner of "hibernating", and frequency and money taken as one.
"""

STAGES = {
    "new": ("New", "Seen for the first time less than {new_days} days ago."),
    "active": ("Active", "Seen less than {dormant_days} days ago."),
    "dormant": ("Dormant", "Not seen for {dormant_days} days."),
    "re-engaged": ("Re-engaged", "Back for less than {reengaged_days} days after being dormant."),
    "lost": ("Lost", "Not seen for {lost_days} days."),
}
"""By id: name, and who they are; in the order of `operators.segments.lifecycle`."""


def rfm_definitions() -> list[SegmentDefinition]:
    """The segments of RFM."""
    return [
        SegmentDefinition(rfm_segment_id(key), "rfm", name, description, _cells(key))
        for key, (name, description) in RFM_NAMES.items()
    ]


def lifecycle_definitions(days: dict[str, int]) -> list[SegmentDefinition]:
    """The segments of the lifecycle, for spans by name."""
    return [
        SegmentDefinition(
            lifecycle_segment_id(sid), "lifecycle", name, text.format(**days), text.format(**days)
        )
        for sid, (name, text) in STAGES.items()
    ]


def _cells(sid: str) -> str:
    cells = [
        f"R {5 - row}, F and M {column + 1}"
        for row, names in enumerate(RFM_GRID)
        for column, name in enumerate(names)
        if name == sid
    ]
    return "; ".join(cells)
