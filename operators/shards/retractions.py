"""What a batch told of shoppers who are no more: not told, or told by the shard of their user.

Who leaves is noted with how much was told by then; one pass at the end sorts it out, so that a batch
in which many leave costs what is in it. What a shopper of the same name does later in the batch stays.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from state.messages import Move, Visited


class Cut(NamedTuple):
    """So much of each list was told of a shopper before it left; to a user with `move`, or for good."""

    clicks: int
    signals: int
    orders: int
    limited: int
    heard: int
    move: Move | None


NEVER = Cut(0, 0, 0, 0, 0, None)
CLICKS, SIGNALS, ORDERS, LIMITED, HEARD = range(5)


class Parting:
    """Who left in the batch at hand, in order."""

    def __init__(self) -> None:
        self._cuts: dict[str, list[Cut]] = {}

    def __bool__(self) -> bool:
        return bool(self._cuts)

    def leave(self, out: Visited, name: str, move: Move | None) -> None:
        """A shopper leaves now. What models heard of one that moves stays."""
        cuts = self._cuts.setdefault(name, [])
        told = len(out.clicks), len(out.signals), len(out.orders), len(out.limited)
        heard = len(out.heard) if move is None else (cuts[-1] if cuts else NEVER).heard
        cuts.append(Cut(*told, heard, move))

    def settle(self, out: Visited) -> None:
        """Sort out what was told until now."""
        clicks: list[Any] = []
        for one, move in self._taken(out.clicks, CLICKS, lambda one: one[1], clicks):
            move.clicks.append((one[0], move.shopper, *one[2:]))
        signals: list[Any] = []
        for one, move in self._taken(out.signals, SIGNALS, lambda one: one[1], signals):
            move.signals.append((one[0], move.shopper, *one[2:]))
        orders: list[Any] = []
        for one, move in self._taken(out.orders, ORDERS, lambda one: one[0], orders):
            move.orders.append((move.shopper, *one[1:]))
        limited: list[Any] = []
        for (bits, one), move in self._taken(out.limited, LIMITED, lambda one: one[1][1], limited):
            move.limited.append((bits, (one[0], move.shopper, *one[2:])))
        out.clicks, out.signals, out.orders, out.limited = clicks, signals, orders, limited
        heard: dict[str | None, int] = {name: cuts[-1].heard for name, cuts in self._cuts.items()}
        out.heard = [
            one
            for n, one in enumerate(out.heard)
            if n >= max(heard.get(one.shopper, 0), heard.get(one.heir, 0))
        ]
        self._cuts.clear()

    def _taken(
        self, told: Sequence[Any], place: int, name_of: Callable[[Any], str], kept: list[Any]
    ) -> Iterator[tuple[Any, Move]]:
        """What goes with a move; what stays is added to `kept`."""
        for n, one in enumerate(told):
            cuts = self._cuts.get(name_of(one), ())
            # In time order, so that what was told before one that left was told before all after it.
            first = bisect_right(cuts, n, key=lambda cut: cut[place])
            if first == len(cuts):
                kept.append(one)
            elif (move := cuts[first].move) is not None:
                yield one, move
