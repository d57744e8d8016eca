"""Explains why an item is in a list, as text for a person.

A learner whose reasons are no items may have a line in `LEARNER_TEXTS`; without one it is named.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from state import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.reader import ListEntry, Storefront

VIEWED_PREFIX, BOUGHT_PREFIX = "because:", "bought:"
LEARNER_TEXTS = {
    "popular": "popular right now",
    "factors": "goes with what was looked at",
    "own_brand": "a brand of the shop's own, moved up",
    "explored": "tried out, to learn whether it is liked",
}
OTHER_LEARNER_TEXT = "suggested by {}"


def describe_reason(item: str, reason: str, names: Mapping[str, str]) -> str:
    """Return the reason of one entry of a list as text, with the names of items.

    >>> describe_reason("cup-1", "because:mug-1", {"mug-1": "Grey mug"})
    'because you looked at Grey mug'
    >>> describe_reason("cup-1", "bought:mug-1", {"mug-1": "Grey mug"})
    'because you bought Grey mug'
    """
    cause = cause_of(reason)
    if cause is None:
        return LEARNER_TEXTS.get(reason) or OTHER_LEARNER_TEXT.format(reason)
    action = "bought" if reason.startswith(BOUGHT_PREFIX) else "looked at"
    if cause == item:
        return f"because you {action} it"
    return f"because you {action} {names.get(cause, cause)}"


@lru_cache(maxsize=100_000)
def cause_of(reason: str) -> str | None:
    """Return the item that is a reason, None if the reason is no item."""
    for prefix in (VIEWED_PREFIX, BOUGHT_PREFIX):
        if reason.startswith(prefix):
            return reason.removeprefix(prefix)
    return None


class Membership(msgspec.Struct):
    """A segment that a shopper is in, and since when (event time, ms)."""

    segment: str
    name: str
    since_ms: int


class ExplainedItem(msgspec.Struct):
    """One item of a list with its reason. Field names are public (`penstock show --json`)."""

    item: str
    name: str
    score: float
    reason: str
    in_words: str

    @property
    def title(self) -> str:
        """Return name and id, or the id alone without a name."""
        return self.item if self.name == self.item else f"{self.name} ({self.item})"


class ExplainedList(msgspec.Struct):
    """The list that a storefront would show: its kind (`place`), its key, its items.

    Field names are public.
    """

    place: str
    key: str
    at_ms: int
    items: list[ExplainedItem]


class Explanation(msgspec.Struct):
    """Everything that a storefront reads about a shopper. Field names are public.

    `offer` None: the storefront shows the shop's own list.
    """

    asked: str
    shopper: str
    profile: dict[str, str]
    session: dict[str, str]
    segments: list[Membership]
    offer: ExplainedList | None


def explain_entries(shop: Storefront, entries: Sequence[ListEntry]) -> list[ExplainedItem]:
    """Return the entries with names and reasons as text. One round trip."""
    causes = [cause for entry in entries if (cause := cause_of(entry.reason)) is not None]
    names = shop.names([*(entry.item for entry in entries), *causes])
    return [
        ExplainedItem(
            e.item, names[e.item], e.score, e.reason, describe_reason(e.item, e.reason, names)
        )
        for e in entries
    ]


def explain(shop: Storefront, some_id: str, slot: str = keys.SLOT) -> Explanation | None:
    """Return what a storefront would read for an id, None if nothing was written for it."""
    shopper = shop.resolve(some_id)
    profile, session = shop.profile(shopper), shop.session(shopper)
    if not profile and not session:
        return None
    names = {segment.sid: segment.name for segment in shop.segments()}
    segments = [
        Membership(sid, names.get(sid, sid), since_ms)
        for sid, since_ms in shop.segments_of(shopper).items()
    ]
    top_list = shop.list_for(shopper, slot)
    offer = None
    if top_list is not None:
        offer = ExplainedList(
            top_list.origin, top_list.key, top_list.at_ms, explain_entries(shop, top_list.entries)
        )
    return Explanation(some_id, shopper, profile, session, segments, offer)
