"""Why an item is in a list, in words for a person. A new learner's word gets its line in `WORDS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.reader import Entry, Storefront

BECAUSE = "because:"
WORDS = {
    "popular": "popular right now",
    "factors": "shoppers of similar taste like it",
}
UNEXPLAINED = "suggested by {}"


def in_words(entry: Entry, names: Mapping[str, str]) -> str:
    """The reason of one entry, with items by their names.

    >>> from serving.reader import Entry
    >>> in_words(Entry("cup-1", 0.5, "because:mug-1"), {"mug-1": "Grey mug"})
    'because you looked at Grey mug'
    """
    if not entry.reason.startswith(BECAUSE):
        return WORDS.get(entry.reason, UNEXPLAINED.format(entry.reason))
    cause = entry.reason.removeprefix(BECAUSE)
    if cause == entry.item:
        return "because you looked at it"
    return f"because you looked at {names.get(cause, cause)}"


def explained(shop: Storefront, entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """For each entry the item's name and why it is there."""
    causes = [e.reason.removeprefix(BECAUSE) for e in entries if e.reason.startswith(BECAUSE)]
    names = shop.names([*(entry.item for entry in entries), *causes])
    return [(names[entry.item], in_words(entry, names)) for entry in entries]
