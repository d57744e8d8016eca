"""The registry of segments: ids to indexes and back; and the sizes of segments.

The ids are stored in the order of their indexes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    SegmentIndexes = NDArray[np.int16]


class SegmentRegistry:
    """Segment ids to indexes and back. An index is reused only after its segment was released:
    until then its id is "".

    >>> registry = SegmentRegistry(["cluster-0"])
    >>> registry.index_of("vip"), registry.index_of("cluster-0"), registry.ids
    (1, 0, ['cluster-0', 'vip'])
    >>> registry.release("cluster-0"); list(registry.ids), registry.index_of("new"), registry.ids
    (['', 'vip'], 0, ['new', 'vip'])
    """

    __slots__ = ("_closed", "_free", "_indexes", "ids")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        self._indexes = {sid: index for index, sid in enumerate(self.ids) if sid}
        self._free = [index for index, sid in enumerate(self.ids) if not sid][::-1]
        self._closed: set[str] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, sid: str) -> int:
        """Return the index of a segment, a new one if it has none."""
        index = self._indexes.get(sid)
        if index is None:
            if not self._free:
                self._free.append(len(self.ids))
                self.ids.append("")
            index = self._indexes[sid] = self._free.pop()
            self.ids[index] = sid
        return index

    def close(self, sid: str) -> None:
        """Leave a segment without members out of `active`."""
        self._closed.add(sid)

    def release(self, sid: str) -> None:
        """Free the index of a segment that has neither members nor counts."""
        index = self._indexes.pop(sid)
        self.ids[index] = ""
        self._closed.discard(sid)
        self._free = sorted([*self._free, index], reverse=True)

    def active(self) -> Iterator[tuple[int, str]]:
        """Yield index and id of each segment that is not closed."""
        return ((index, sid) for index, sid in enumerate(self.ids) if self.is_active(index))

    def is_active(self, index: int) -> bool:
        """Return whether there is a segment at an index that is not closed."""
        sid = self.ids[index]
        return sid != "" and sid not in self._closed

    def find(self, sid: str) -> int:
        """Return the index of a segment, or NO_ROW."""
        return self._indexes.get(sid, NO_ROW)


class SegmentSizes:
    """The number of shoppers in each segment, and of users among them, by segment index."""

    __slots__ = ("identified", "total")

    def __init__(self) -> None:
        self.total: list[int] = []
        self.identified: list[int] = []

    def ensure_segments(self, segments: int) -> None:
        """Grow to at least this many segments."""
        more = [0] * (segments - len(self.total))
        self.total += more
        self.identified += more

    def change(self, segment: int, by: int, *, known: bool) -> None:
        """Count a shopper who entered (1) or left (-1)."""
        if segment >= len(self.total):
            self.ensure_segments(segment + 1)
        self.total[segment] += by
        self.identified[segment] += by * known
