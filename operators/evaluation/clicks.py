"""The stream that is evaluated: clicks as columns in time order, and the sessions they make."""

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
    """One line of a file: who, what, when (ms), VIEW, CART or PURCHASE, and how much it says.

    `about` is what it tells of the item, if anything beside its id.
    """

    shopper: str
    item: str
    at_ms: int
    kind: int = VIEW
    weight: float = 1.0
    about: Item | None = None


class StreamClick(NamedTuple):
    """A click with its shopper and item as rows of the stream's vocabularies, and its place there."""

    shopper: int
    item: int
    at_ms: int
    kind: int = VIEW
    weight: float = 1.0
    number: int = 0


@dataclass(frozen=True)
class ClickStream:
    """A stream in time order; clicks of one time stand as they came. 21 bytes a click, and the ids.

    `starts` are the numbers of the first clicks of its parts; `item_updates`, by the number of the
    click,
    is what was told of its item where that was new.
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
        """What cases are made of: views, or where a stream has none, carts, else purchases."""
        return min(set(self.kind), default=VIEW)

    def __iter__(self) -> Iterator[StreamClick]:
        numbers = range(len(self))
        columns = (self.shopper, self.item, self.at_ms, self.kind, self.weight, numbers)
        return map(StreamClick._make, zip(*columns, strict=True))

    @property
    def category_of(self) -> dict[int, int]:
        """Of items whose category was told, by row, a number that stands for it: the last told."""
        numbers: dict[tuple[str, ...], int] = {}
        return {
            self.item[number]: numbers.setdefault(about.category, len(numbers))
            for number, about in sorted(self.item_updates.items())
            if about.category
        }

    def subset(self, numbers: NDArray[np.intp]) -> ClickStream:
        """Some of the clicks, in the order of their numbers here, as one part."""
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
        """The first `end` clicks; those before `scored_from` are a part of their own, only learned."""
        return replace(self.subset(np.arange(end)), starts=[0, scored_from])

    def with_weights(self, weights: Sequence[float]) -> ClickStream:
        """The same, where the weights in it are the places of others in `weights`."""
        column = np.asarray(weights, np.float32)[np.asarray(self.weight).astype(np.intp)]
        return replace(self, weight=array("f", column.tobytes()))


def collect(*parts: Iterable[RawClick]) -> ClickStream:
    """Columns of the parts, one part after another, each sorted by time if it was not.

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
