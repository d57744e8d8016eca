"""Who a shopper is: a user id once ever identified, else the anonymous id.

A first identification moves what was known of the anonymous shopper into the user. An anonymous id
that is linked to one user and identifies as another is not merged: a new link starts, and it counts
as a conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.idle import Idle
from state.times import DAY_MS

if TYPE_CHECKING:
    from state.events import Event


class Known(NamedTuple):
    """The user of an event, and what the event told about the device it came from."""

    user_id: str
    newly_linked: bool
    conflict: bool
    alias_due: bool


class Links:
    """Anonymous ids and the users they became. `users` maps one to `(user id, day of last alias)`.

    `changed` are the anonymous ids whose link a snapshot has to write.
    """

    __slots__ = ("changed", "idle", "users")

    def __init__(self, users: dict[str, tuple[str, int]] | None = None) -> None:
        self.users = {} if users is None else users
        self.changed: set[str] = set()
        self.idle = Idle(DAY_MS)
        for name, (_, day) in self.users.items():
            self.idle.add(name, day * DAY_MS)

    def resolve(self, event: Event) -> Known | None:
        """The user of an event, or None where the shopper is the anonymous id itself.

        The alias key in Redis expires; it is due again on the first event of each day.
        """
        anonymous_id, user_id = event.anonymous_id, event.user_id
        if anonymous_id is None:
            assert user_id is not None
            return Known(user_id, newly_linked=False, conflict=False, alias_due=False)
        link = self.users.get(anonymous_id)
        if user_id is None:
            if link is None:
                return None
            user_id = link[0]
        day = event.event_ts // DAY_MS
        if link is not None and link[0] == user_id:
            due = day > link[1]
            if due:
                self._link(anonymous_id, user_id, day)
            return Known(user_id, newly_linked=False, conflict=False, alias_due=due)
        self._link(anonymous_id, user_id, day)
        return Known(user_id, newly_linked=link is None, conflict=link is not None, alias_due=True)

    def forget(self, anonymous_id: str) -> None:
        """Remove a link, if there is one."""
        self.users.pop(anonymous_id, None)
        self.changed.add(anonymous_id)

    def take_back(self, anonymous_id: str, link: tuple[str, int]) -> None:
        """Go on with a link that was put away."""
        self._link(anonymous_id, *link)

    def last_ms(self, anonymous_id: str) -> int | None:
        """The day its device was last seen on, if there is a link."""
        link = self.users.get(anonymous_id)
        return None if link is None else link[1] * DAY_MS

    def _link(self, anonymous_id: str, user_id: str, day: int) -> None:
        self.users[anonymous_id] = (user_id, day)
        self.idle.add(anonymous_id, day * DAY_MS)
        self.changed.add(anonymous_id)


def device(event: Event) -> str:
    """What an event is first grouped by: the id that the same device always sends."""
    return event.anonymous_id or event.user_id or event.items[0].item_id
