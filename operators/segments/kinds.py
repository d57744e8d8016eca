"""The kinds of built-in segments: what each stores, shows in profiles and defines.

A new kind is an entry here, its names in `state.segments`, and the code that assigns shoppers to it.
Never change the names of kinds, columns and fields: they are stored or public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import asdict

from operators.segments.propensity import built_in_segments
from operators.segments.propensity.profile_fields import WEEKLY_MODELS
from state.profile_fields import CLUSTER_FIELDS, RFM, STAGE
from state.segments import RETIRED, lifecycle_definitions, rfm_definitions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from state.config import Settings
    from state.segments import SegmentDefinition, SegmentKind


class KindSpec(NamedTuple):
    """A kind. `columns`: the stored names of its columns if its segments exclude each other, else None;
    `fields`: its fields of a profile; `definitions`: its segments, whether it is enabled or not."""

    name: SegmentKind
    columns: tuple[str, str] | None
    fields: tuple[str, ...]
    is_enabled: Callable[[Settings], bool]
    definitions: Callable[[Settings], Sequence[SegmentDefinition]]


KINDS = (
    # Clusters are defined by the model, as it finds them.
    KindSpec("cluster", ("cluster", "entered_ms"), CLUSTER_FIELDS, lambda _: True, lambda _: ()),
    KindSpec(
        "rfm",
        ("rfm", "rfm_ms"),
        (RFM,),
        lambda settings: settings.rfm.enabled,
        lambda _: rfm_definitions(),
    ),
    KindSpec(
        "lifecycle",
        ("lifecycle", "lifecycle_ms"),
        (STAGE,),
        lambda settings: settings.lifecycle.enabled,
        lambda settings: lifecycle_definitions(asdict(settings.lifecycle)),
    ),
    # The definitions of enabled segments, with their status, come from the models.
    KindSpec(
        "propensity",
        None,
        WEEKLY_MODELS,
        lambda settings: settings.propensity.horizon_days > 0,
        lambda settings: built_in_segments.definitions(settings.propensity.dormant_days, RETIRED),
    ),
)

EXCLUSIVE_KINDS: dict[str, tuple[str, str]] = {
    kind.name: kind.columns for kind in KINDS if kind.columns is not None
}
"""The kinds whose segments exclude each other, with the stored names of their columns."""

KIND_FIELDS = tuple(field for kind in KINDS for field in kind.fields)
"""The profile fields of all kinds."""
