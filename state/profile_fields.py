"""The fields of a profile that change while its shopper is inactive, and an update of such fields.

The names are stored in Redis and public: do not change them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

CLUSTER, DISTANCE, RFM, STAGE = "cluster", "cluster_distance", "rfm", "stage"
CLUSTER_FIELDS = (CLUSTER, DISTANCE)


class ProfileUpdate(NamedTuple):
    """New values of some fields of a shopper's profile; "" removes a field."""

    shopper: str
    fields: Mapping[str, str]
