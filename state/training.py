"""The messages to and from the steps that train: what they learn from, and what follows from it.

Never stored, as all messages (`state/messages.py`).
"""

from __future__ import annotations

from state.entries import (
    ConsentWithdrawal,
    Interaction,
    ItemUpdate,
    LimitedInteraction,
    MergedShopper,
    Transition,
)
from state.messages import BatchId, Message, ShopperObservation, Write


class ClusterFeatures(Message):
    """What `train_clusters` gets of user shards' part of a batch: of so many `parts`.

    `features` are the feature rows of active shoppers, `refused` the purposes that each refuses, as
    bits. `accepted` is the number of counted events by shard, since the first start.
    """

    batch: BatchId
    sequence: int
    shard: int
    watermark_ms: int
    last: bool
    shoppers: list[str]
    refused: list[int]
    features: list[bytes]
    accepted: dict[str, int]
    parts: int = 1


class ClustersTrained(Message):
    """What `train_clusters` gives of one batch, after it has learned from it.

    `labels` (int64, NO_ROW for none) and `distances` (float32) are of the active `shoppers`.
    `numbers` are those of the current clusters, `next_id` is above all that ever were. `retired` are
    clusters that ended, with the replacement of each; `renamed` name and version of those whose name
    changed, with the first batch after a start of all. `writes` publish the report, when it is due.
    """

    batch: BatchId
    sequence: int
    shoppers: list[str] = []
    labels: bytes = b""
    distances: bytes = b""
    numbers: list[int] = []
    next_id: int = 0
    retired: list[tuple[int, int]] = []
    renamed: dict[int, tuple[str, int]] = {}
    writes: list[Write] = []
    drift_count: int = 0
    error_counts: dict[str, int] = {}

    @property
    def parts(self) -> int:
        """One message a batch."""
        return 1


class ItemEvents(Message):
    """What `train_items` gets of user shards' part of a batch: of so many `parts`.

    `newest_ms` is the newest event time of active shoppers. Shoppers who were `erased`, or `evicted` and
    not active again, are named.
    """

    batch: BatchId
    sequence: int
    shard: int
    last: bool
    newest_ms: int
    interactions: list[Interaction]
    limited_interactions: list[LimitedInteraction]
    item_updates: list[ItemUpdate]
    merged: list[MergedShopper]
    erased: list[str]
    evicted: list[str]
    consent_withdrawals: list[ConsentWithdrawal]
    parts: int = 1


class PropensityEvents(Message):
    """What `train_propensity` gets of user shards' part of a batch: of so many `parts`.

    Of active `shoppers`: the purposes that each refuses, as bits, whether it is a known user, and its
    feature row. Then decisions, outcomes and observations as in `ShardOutput`, and the shoppers who are
    no more, or who refuse personalization from now on.
    """

    batch: BatchId
    sequence: int
    shard: int
    watermark_ms: int
    last: bool
    shoppers: list[str]
    refused: list[int]
    known: list[bool]
    features: list[bytes]
    decisions: list[bytes]
    session_outcomes: list[bytes]
    withdrawn_decisions: list[bytes]
    observations: list[ShopperObservation]
    merged: list[str]
    erased: list[str]
    withdrawn: list[str]
    evicted: list[str]
    parts: int = 1


class PropensityTrained(Message):
    """What `train_propensity` gives of one batch.

    `steps` (int16, four a shopper) are what the profiles of the active `shoppers` show; `transitions`
    are theirs, `later_transitions` those of all shoppers, as time passes; `updates` are changed fields
    of profiles of inactive ones. `status` is that of the segments. `has_session_history`: there were
    predictions for sessions, which are turned off now. `writes` publish the quality of the models, when
    it is due.
    """

    batch: BatchId
    sequence: int
    shoppers: list[str] = []
    steps: bytes = b""
    transitions: list[Transition] = []
    later_transitions: list[Transition] = []
    updates: list[tuple[str, dict[str, str]]] = []
    status: str = ""
    has_session_history: bool = False
    writes: list[Write] = []
    error_counts: dict[str, int] = {}

    @property
    def parts(self) -> int:
        """One message a batch."""
        return 1
