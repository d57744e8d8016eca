"""The order of delivery: the changes of one shopper go out one at a time, in order; shoppers do not wait
for each other.

Times are seconds of a monotonic clock. Not thread-safe.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Backoff(NamedTuple):
    """Pauses between tries (s): doubled each time up to a maximum, half of each at random.

    The random half prevents that messages which failed together are retried together (M. Brooker,
    "Exponential Backoff And Jitter": equal jitter).
    """

    first_s: float
    max_s: float
    random: Callable[[], float]

    def pause_s(self, tries: int, requested_s: float = 0.0) -> float:
        """The pause after so many tries; at least what the endpoint requested, up to the maximum.

        >>> backoff = Backoff(1, 60, lambda: 1.0)
        >>> [backoff.pause_s(tries) for tries in (1, 2, 3, 9)], backoff.pause_s(1, requested_s=9.0)
        ([1.0, 2.0, 4.0, 60.0], 9.0)
        """
        pause_max_s = min(self.max_s, self.first_s * 2.0 ** min(tries - 1, 60))
        return max(pause_max_s * (1 + self.random()) / 2, min(requested_s, self.max_s))


class OrderedDeliveryQueue(Generic[T]):
    """Queued items by shopper.

    `take_due` gives a shopper's first item. Until `acknowledge` or `retry` is called for that shopper,
    its other items are not given.
    """

    def __init__(self) -> None:
        self._chains: dict[str, deque[T]] = {}
        self._due: list[tuple[float, int, str]] = []
        self._sequence = 0
        self._paused_until_s = 0.0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, shopper: str, item: T, now_s: float) -> None:
        """Append an item to the queue of a shopper."""
        self._count += 1
        chain = self._chains.get(shopper)
        if chain is None:
            self._chains[shopper] = deque([item])
            self._schedule(shopper, now_s)
        else:
            chain.append(item)

    def take_due(self, now_s: float) -> tuple[str, T] | None:
        """The next item that is due, with its shopper."""
        if not self._due or max(self._due[0][0], self._paused_until_s) > now_s:
            return None
        _, _, shopper = heapq.heappop(self._due)
        return shopper, self._chains[shopper][0]

    def acknowledge(self, shopper: str, now_s: float) -> None:
        """Remove the item that was taken of a shopper: it is delivered, or given up."""
        self._count -= 1
        chain = self._chains[shopper]
        chain.popleft()
        if chain:
            self._schedule(shopper, now_s)
        else:
            del self._chains[shopper]

    def retry(self, shopper: str, at_s: float) -> None:
        """Give the item that was taken of a shopper again at a time."""
        self._schedule(shopper, at_s)

    def pause(self, until_s: float) -> None:
        """Give nothing before a time."""
        self._paused_until_s = max(self._paused_until_s, until_s)

    def seconds_until_due(self, now_s: float) -> float | None:
        """Seconds until an item is due; None if there is no item but those taken."""
        if not self._due:
            return None
        return max(0.0, max(self._due[0][0], self._paused_until_s) - now_s)

    def _schedule(self, shopper: str, at_s: float) -> None:
        # The sequence number keeps the order of arrival where times are equal.
        self._sequence += 1
        heapq.heappush(self._due, (at_s, self._sequence, shopper))
