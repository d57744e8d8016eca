"""A change of a shopper's segments, and its entry in a change stream.

Change freely: nothing. The fields of an entry are public; ids of entries are compared between releases.
"""

from __future__ import annotations

from typing import NamedTuple

from state.replies import parse_entry_id

StreamIds = dict[int, tuple[int, int]]
"""The last id written, by stream: milliseconds, and the counter."""

ChangeFields = dict[str, str | int]
"""An entry of a change stream: `id kind shopper segment version event_ts known`, and if set `item`,
`refused`."""


class Change(NamedTuple):
    """A shopper entered or left a segment, changed stage, became another shopper, or was erased.

    A trigger (`operators.catalogue.item_alerts`) has its name in `segment`, and the `item`. `known`: the
    shopper's id is a user's. Of a withdrawn consent, `segment` is the purpose. `refused`: the purposes
    that the shopper refuses, as bits; consumers may not use the entry for these.
    """

    kind: str
    shopper: str
    segment: str
    at_ms: int
    known: bool = False
    item: str = ""
    refused: int = 0


CONTENT_BITS = 32
"""An id's second part has the counter in the upper bits and the hash of the change in these lower
ones."""


def stream_id(entry_id: str) -> tuple[int, int]:
    """Return the time and the counter of an entry id.

    >>> stream_id("7-6124273845")
    (7, 1)
    """
    ms, sequence = parse_entry_id(entry_id.encode())
    return ms, sequence >> CONTENT_BITS
