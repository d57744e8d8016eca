"""Clock jumps: whether an event far ahead of all before it advances the watermark.

The events after it decide: a device with a wrong clock is alone, a pause of the shop is not.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shards.identity_map import device_key
from state.dead_letters import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event

LOOK_AHEAD_EVENTS = 100
"""How many events after one that is far ahead decide about it."""
DISORDER_ONE_IN = 10
"""If one event in so many is far behind others before it, the log is not in order of time."""


def is_confirmed(
    event: Event, later_records: Sequence[Event | DeadLetter], jump_ms: int
) -> bool | None:
    """Whether most of the later events, and most of their devices, are about as late as the event.

    Devices count because a device with a wrong clock may send many events in a row. None where nothing
    comes after it.
    """
    earliest_ms = effective_time_ms(event) - jump_ms
    devices: tuple[set[str], set[str]] = set(), {device_key(event)}
    counts = [0, 1]
    for other in later_records:
        if isinstance(other, DeadLetter):
            continue
        is_as_late = effective_time_ms(other) >= earliest_ms
        devices[is_as_late].add(device_key(other))
        counts[is_as_late] += 1
    if counts == [0, 1]:
        return None
    return counts[1] > counts[0] and len(devices[1]) > len(devices[0])


def correct_clock(
    event: Event, later_events: Sequence[Event], reached_ms: int, jump_ms: int
) -> Event:
    """The event with the time of the events around it; unchanged in a log without order of time."""
    earliest_ms = effective_time_ms(event) - jump_ms
    times = [at_ms for at_ms in map(effective_time_ms, later_events) if at_ms < earliest_ms]
    newest_ms = list(accumulate(times, max))
    behind = sum(at_ms < top_ms - jump_ms for at_ms, top_ms in zip(times, newest_ms, strict=True))
    if behind * DISORDER_ONE_IN > len(times):
        return event
    received_ms = reached_ms or times[0]
    return replace(event, event_ts=received_ms, received_ts=received_ms)


def effective_time_ms(event: Event) -> int:
    """The time of an event, but no later than it was received."""
    return min(event.event_ts, event.received_ts)
