"""Whether an event far ahead of all before it moves time on, by those that come after it."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shards.identity_map import device
from state.dead_letters import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event

LOOK_AHEAD = 100
"""Events after one that is far ahead which say whether time has come so far."""
DISORDER = 10
"""One in so many that are far behind others before them: a log that does not go by time."""


def agreed(event: Event, after: Sequence[Event | DeadLetter], jump_ms: int) -> bool | None:
    """Whether most of the events after one, and most of their shoppers, are about as late as it is.

    A wrong clock is alone, however many events it sends in a row; after a pause of the whole shop all
    agree. None where nothing comes after.
    """
    least_ms = seen_ms(event) - jump_ms
    sides: tuple[set[str], set[str]] = set(), {device(event)}
    events = [0, 1]
    for other in after:
        if isinstance(other, DeadLetter):
            continue
        side = seen_ms(other) >= least_ms
        sides[side].add(device(other))
        events[side] += 1
    if events == [0, 1]:
        return None
    return events[1] > events[0] and len(sides[1]) > len(sides[0])


def set_back(event: Event, after: Sequence[Event], reached_ms: int, jump_ms: int) -> Event:
    """The event as if it had been received with the others; as it is where those go by no order."""
    least_ms = seen_ms(event) - jump_ms
    times = [at_ms for at_ms in map(seen_ms, after) if at_ms < least_ms]
    newest_ms = list(accumulate(times, max))
    behind = sum(at_ms < top_ms - jump_ms for at_ms, top_ms in zip(times, newest_ms, strict=True))
    if behind * DISORDER > len(times):
        return event
    received_ms = reached_ms or times[0]
    return replace(event, event_ts=received_ms, received_ts=received_ms)


def seen_ms(event: Event) -> int:
    """Nothing happens after it was received."""
    return min(event.event_ts, event.received_ts)
