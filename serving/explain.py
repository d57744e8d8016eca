"""Why an item is in a list, in words for a person. A new learner's word gets its line in `WORDS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from state import keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.reader import Entry, Storefront

BECAUSE, BOUGHT = "because:", "bought:"
WORDS = {
    "popular": "popular right now",
    "factors": "goes with what was looked at",
    "own_brand": "a brand of the shop's own, moved up",
    "explored": "tried out, to learn whether it is liked",
}
UNEXPLAINED = "suggested by {}"


def in_words(entry: Entry, names: Mapping[str, str]) -> str:
    """The reason of one entry, with items by their names.

    >>> from serving.reader import Entry
    >>> in_words(Entry("cup-1", 0.5, "because:mug-1"), {"mug-1": "Grey mug"})
    'because you looked at Grey mug'
    >>> in_words(Entry("cup-1", 0.5, "bought:mug-1"), {"mug-1": "Grey mug"})
    'because you bought Grey mug'
    """
    cause = cause_of(entry)
    if cause is None:
        return WORDS.get(entry.reason, UNEXPLAINED.format(entry.reason))
    did = "bought" if entry.reason.startswith(BOUGHT) else "looked at"
    if cause == entry.item:
        return f"because you {did} it"
    return f"because you {did} {names.get(cause, cause)}"


def cause_of(entry: Entry) -> str | None:
    """The item that is the reason, if one is."""
    for prefix in (BECAUSE, BOUGHT):
        if entry.reason.startswith(prefix):
            return entry.reason.removeprefix(prefix)
    return None


class Membership(msgspec.Struct):
    """A segment a shopper is in, and since when (event time, ms)."""

    segment: str
    name: str
    since_ms: int


class Shown(msgspec.Struct):
    """One place of a list, with why it is there."""

    item: str
    name: str
    score: float
    reason: str
    in_words: str

    @property
    def title(self) -> str:
        """Name and id, or the id alone where there is no name."""
        return self.item if self.name == self.item else f"{self.name} ({self.item})"


class Offer(msgspec.Struct):
    """The list a storefront would show: what it is (`place`), its key, and its items."""

    place: str
    key: str
    at_ms: int
    items: list[Shown]


class Explanation(msgspec.Struct):
    """All that a storefront reads of a shopper. `offer` None: it shows the shop's own list."""

    asked: str
    shopper: str
    profile: dict[str, str]
    session: dict[str, str]
    segments: list[Membership]
    offer: Offer | None


def explained(shop: Storefront, entries: Sequence[Entry]) -> list[Shown]:
    """The entries with names and reasons in words. One round trip."""
    causes = [cause for cause in map(cause_of, entries) if cause is not None]
    names = shop.names([*(entry.item for entry in entries), *causes])
    return [Shown(e.item, names[e.item], e.score, e.reason, in_words(e, names)) for e in entries]


def explain(shop: Storefront, some_id: str, slot: str = keys.SLOT) -> Explanation | None:
    """What a storefront would read for an id, or None where nothing was written for it."""
    shopper = shop.resolve(some_id)
    profile, session = shop.profile(shopper), shop.session(shopper)
    if not profile and not session:
        return None
    names = {segment.sid: segment.name for segment in shop.segments()}
    segments = [
        Membership(sid, names.get(sid, sid), since_ms)
        for sid, since_ms in shop.segments_of(shopper).items()
    ]
    found = shop.list_for(shopper, slot)
    offer = None
    if found is not None:
        offer = Offer(found.place, found.key, found.at_ms, explained(shop, found.entries))
    return Explanation(some_id, shopper, profile, session, segments, offer)
