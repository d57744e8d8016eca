"""The stream that is evaluated: clicks as columns, in order of time."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from state.interactions import VIEW, RowIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from state.events import Item


Number = TypeVar("Number", int, float)


class RawClick(NamedTuple):
    """One line of a file: shopper, item, time (ms), VIEW, CART or PURCHASE, and its weight.

    `about` holds the attributes of the item, if the line has any beside its id.
    """

    shopper: str
    item: str
    at_ms: int
    kind: int = VIEW
    weight: float = 1.0
    about: Item | None = None


class StreamClick(NamedTuple):
    """A click with rows of the stream for its shopper and item, and its number in the stream."""

    shopper: int
    item: int
    at_ms: int
    kind: int = VIEW
    weight: float = 1.0
    number: int = 0


@dataclass(frozen=True)
class ClickStream:
    """A stream in order of time; clicks of the same time keep their order. 21 bytes a click, and the
    ids.

    `starts` are the numbers of the first clicks of its parts. `item_updates` holds new attributes of
    items, by the number of the click that brought them.
    """

    shoppers: RowIndex
    items: RowIndex
    shopper: array[int]
    item: array[int]
    at_ms: array[int]
    kind: array[int]
    weight: array[float]
    starts: list[int]
    item_updates: dict[int, Item]

    def __len__(self) -> int:
        return len(self.item)

    @property
    def scored_kind(self) -> int:
        """The kind of the scored clicks: views; in a stream without views, carts, else purchases."""
        return min(set(self.kind), default=VIEW)

    def __iter__(self) -> Iterator[StreamClick]:
        numbers = range(len(self))
        columns = (self.shopper, self.item, self.at_ms, self.kind, self.weight, numbers)
        return map(StreamClick._make, zip(*columns, strict=True))

    @property
    def category_of(self) -> dict[int, int]:
        """A number for the newest category of each item row that has one."""
        numbers: dict[tuple[str, ...], int] = {}
        return {
            self.item[number]: numbers.setdefault(about.category, len(numbers))
            for number, about in sorted(self.item_updates.items())
            if about.category
        }

    def subset(self, numbers: NDArray[np.intp]) -> ClickStream:
        """The clicks of these numbers, in their order, as one part."""
        position = dict(zip(numbers.tolist(), range(len(numbers)), strict=True))
        return replace(
            self,
            shopper=_in_order(self.shopper, numbers),
            item=_in_order(self.item, numbers),
            at_ms=_in_order(self.at_ms, numbers),
            kind=_in_order(self.kind, numbers),
            weight=_in_order(self.weight, numbers),
            starts=[0],
            item_updates={
                position[number]: about
                for number, about in self.item_updates.items()
                if number in position
            },
        )

    def prefix_until(self, end: int, scored_from: int) -> ClickStream:
        """The first `end` clicks; those before `scored_from` are a part that is learned only."""
        return replace(self.subset(np.arange(end)), starts=[0, scored_from])

    def with_weights(self, weights: Sequence[float]) -> ClickStream:
        """The same stream, whose weights are indexes of the weights given here."""
        column = np.asarray(weights, np.float32)[np.asarray(self.weight).astype(np.intp)]
        return replace(self, weight=array("f", column.tobytes()))


def collect(*parts: Iterable[RawClick]) -> ClickStream:
    """The parts as one stream, one after another, each sorted by time.

    >>> late, early = RawClick("ann", "mug", at_ms=2), RawClick("bob", "cup", at_ms=1)
    >>> [click.at_ms for click in collect([late, early])]
    [1, 2]
    >>> collect([late], [early]).starts
    [0, 1]
    """
    shoppers, items = RowIndex(), RowIndex()
    shopper, item, at_ms = array("i"), array("i"), array("q")
    kind, weight = array("b"), array("f")
    starts: list[int] = []
    item_updates: dict[int, Item] = {}
    last: dict[int, Item] = {}
    for part in parts:
        starts.append(len(item))
        for click in part:
            shopper.append(shoppers.get_or_add(click.shopper))
            item.append(items.get_or_add(click.item))
            at_ms.append(click.at_ms)
            kind.append(click.kind)
            weight.append(click.weight)
            if click.about is not None and last.get(item[-1]) != click.about:
                last[item[-1]] = item_updates[len(item) - 1] = click.about
    part_of = np.searchsorted(starts, np.arange(len(item)), side="right")
    order = np.lexsort((np.asarray(at_ms), part_of))
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return ClickStream(
        shoppers,
        items,
        _in_order(shopper, order),
        _in_order(item, order),
        _in_order(at_ms, order),
        _in_order(kind, order),
        _in_order(weight, order),
        starts,
        {int(number[raw]): item for raw, item in item_updates.items()},
    )


def _in_order(column: array[Number], order: NDArray[np.intp]) -> array[Number]:
    ordered = column[:0]
    ordered.frombytes(np.asarray(column)[order].tobytes())
    return ordered
