"""Sessions in event time: runs of a shopper's events with no gap above the session gap.

Events that are late by no more than the allowed lateness give the same result as events in order: such
an event may join two sessions into one. Whether an event is later than that is decided once, where it
is read, so that the result depends neither on batches nor on workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.shopper import Session

if TYPE_CHECKING:
    from state.shopper import Shopper


def add_event(shopper: Shopper, at_ms: int, *, gap_ms: int, watermark_ms: int) -> Session | None:
    """The session that an event belongs to; it opens one, or joins several, if it has to.

    `watermark_ms` is the watermark when the event came. An older event is late: it may join a session
    that was still open then, but opens none; the result is then None.

    >>> from state.shopper import Shopper
    >>> ann = Shopper(False, 0, 0)
    >>> for at in (0, 50, 100, 151): _ = add_event(ann, at, gap_ms=50, watermark_ms=0)
    >>> [(s.start_ms, s.last_ms) for s in ann.open_sessions], ann.sessions, ann.session_ms
    ([(0, 100), (151, 151)], 2, 100)
    """
    sessions = shopper.open_sessions
    if sessions:
        # Nearly every event: in time, and the next one of the newest session.
        newest = sessions[-1]
        if watermark_ms <= at_ms and newest.last_ms <= at_ms <= newest.last_ms + gap_ms:
            shopper.session_ms += at_ms - newest.last_ms
            newest.last_ms = at_ms
            return newest
        matching = _matching_sessions(sessions, at_ms, gap_ms, watermark_ms)
        if matching:
            return _join_sessions(shopper, matching, at_ms)
    if at_ms < watermark_ms:
        return None
    opened = Session(at_ms, at_ms)
    shopper.sessions += 1
    sessions.append(opened)
    if len(sessions) > 1 and sessions[-2].last_ms > at_ms:
        sessions.sort(key=_last_ms)
    return opened


def _matching_sessions(
    sessions: list[Session], at_ms: int, gap_ms: int, watermark_ms: int
) -> list[Session]:
    """The sessions that an event belongs to, oldest first. They are among the last to end."""
    ends_ms = max(at_ms, watermark_ms) - gap_ms
    matching = []
    for session in reversed(sessions):
        if session.last_ms < ends_ms:
            break
        if session.start_ms - gap_ms <= at_ms:
            matching.append(session)
    matching.reverse()
    return matching


def _join_sessions(shopper: Shopper, matching: list[Session], at_ms: int) -> Session:
    first = matching[0]
    previous_ms = sum(session.last_ms - session.start_ms for session in matching)
    for other in matching[1:]:
        first.merge(other)
        shopper.open_sessions.remove(other)
        shopper.sessions -= 1
    first.start_ms = min(first.start_ms, at_ms)
    first.last_ms = max(first.last_ms, at_ms)
    shopper.session_ms += first.last_ms - first.start_ms - previous_ms
    return first


def close_expired(shopper: Shopper, watermark_ms: int, *, gap_ms: int) -> list[Session]:
    """Close the sessions that no event in time can reach any more; the closed ones."""
    closed = [s for s in shopper.open_sessions if s.last_ms + gap_ms < watermark_ms]
    if closed:
        shopper.open_sessions = [
            s for s in shopper.open_sessions if s.last_ms + gap_ms >= watermark_ms
        ]
    return closed


def merge(shopper: Shopper, other: Shopper, *, gap_ms: int, at_ms: int) -> None:
    """Add another shopper's sessions; sessions within the gap of each other become one.

    `at_ms` is the time of the event that led to the merge, or the watermark if that is later. Sessions
    that had ended by then stay as they are, whether or not they have been closed yet.
    """
    shopper.sessions += other.sessions
    shopper.session_ms += other.session_ms
    shopper.session_events += other.session_events
    ended: list[Session] = []
    merged: list[Session] = []
    for session in sorted(shopper.open_sessions + other.open_sessions, key=_start_ms):
        if session.last_ms + gap_ms < at_ms:
            ended.append(session)
        elif merged and session.start_ms <= merged[-1].last_ms + gap_ms:
            separate_ms = (
                merged[-1].last_ms - merged[-1].start_ms + session.last_ms - session.start_ms
            )
            merged[-1].merge(session)
            shopper.session_ms += merged[-1].last_ms - merged[-1].start_ms - separate_ms
            shopper.sessions -= 1
        else:
            merged.append(session)
    shopper.open_sessions = sorted(ended + merged, key=_last_ms)


def _start_ms(session: Session) -> int:
    return session.start_ms


def _last_ms(session: Session) -> int:
    return session.last_ms
