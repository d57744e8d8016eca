"""The running session of each shopper of an evaluated stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operators.evaluation.clicks import StreamClick

SESSION_GAP_MS = 30 * 60 * 1000
"""The default pause that ends a session."""


@dataclass(slots=True)
class ClickSession:
    """A shopper's session so far: when it began, and its items, oldest first."""

    start_ms: int
    items: list[int] = field(default_factory=list)


class SessionTracker:
    """The running session of each shopper.

    A session ends after more than `gap_ms` without a click; with None a shopper is one session.

    >>> from operators.evaluation.clicks import StreamClick
    >>> sessions = SessionTracker(gap_ms=100)
    >>> for at_ms in [0, 100, 201]:
    ...     session = sessions.current_session(StreamClick(shopper=1, item=7, at_ms=at_ms))
    ...     session.items.append(7)
    ...     print(session)
    ClickSession(start_ms=0, items=[7])
    ClickSession(start_ms=0, items=[7, 7])
    ClickSession(start_ms=201, items=[7])
    """

    def __init__(self, gap_ms: int | None) -> None:
        self._gap_ms = float("inf") if gap_ms is None else gap_ms
        self._sessions: dict[int, ClickSession] = {}
        self._last_ms: dict[int, int] = {}

    def items_of(self, shopper: int) -> list[int]:
        """The items of a shopper's newest session; none without a session."""
        session = self._sessions.get(shopper)
        return session.items if session else []

    def current_session(self, click: StreamClick) -> ClickSession:
        """The session of a click. The caller appends the item to it after the click is learned."""
        session = self._sessions.get(click.shopper)
        if session is None or click.at_ms - self._last_ms[click.shopper] > self._gap_ms:
            session = self._sessions[click.shopper] = ClickSession(click.at_ms)
        self._last_ms[click.shopper] = click.at_ms
        return session
