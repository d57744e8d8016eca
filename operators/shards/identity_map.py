"""Who a shopper is: a user id once ever identified, else the anonymous id.

A first identification moves what was known of the anonymous shopper into the user. An anonymous id
that is linked to one user and identifies as another is not merged: a new link starts, and it counts
as a conflict.

One id is one shopper, whether it comes as an anonymous id or as a user id. Which of the two it is, its
first event says, by event time among those in time: an id that came first with a device is that
device's, and a server that sends it as a user id means the device; one that came first as a user id is
a user's, whom no device that calls itself the same can be merged into another. Whoever was heard of
together with another device is a user in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.tables.idle_index import Idle
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from state.events import Event


class Known(NamedTuple):
    """The user of an event, and what the event told about the device it came from."""

    user_id: str
    newly_linked: bool
    conflict: bool
    alias_due: bool


class Links:
    """Anonymous ids and the users they became; ids that are users' for sure.

    `users` maps an anonymous id to `(user id, day of last alias)`, `known` a user id to the day it was
    last heard of. An id may be in both: a user's, by which a device of another user called itself; it
    then leads to nobody but that user. `changed` are the ids of which a snapshot has to write either.
    """

    __slots__ = ("_of_users", "changed", "idle", "known", "users")

    def __init__(
        self,
        users: dict[str, tuple[str, int]] | None = None,
        known: dict[str, int] | None = None,
    ) -> None:
        self.users = {} if users is None else users
        self.known = {} if known is None else known
        self.changed: set[str] = set()
        self.idle = Idle(DAY_MS)
        self._of_users: dict[str, set[str]] = {}
        for name in {*self.users, *self.known}:
            self.idle.add(name, self.last_ms(name) or 0)

    def __contains__(self, name: str) -> bool:
        return name in self.users or name in self.known

    def know(self, user_id: str, at_ms: int) -> None:
        """An id is a user's, and was heard of."""
        day = at_ms // DAY_MS
        if self.known.get(user_id, -1) < day:
            self.known[user_id] = day
            self.idle.add(user_id, day * DAY_MS)
            self.changed.add(user_id)

    def resolve(self, event: Event, *, is_user: bool = False) -> Known | None:
        """The user of an event of a device, or None where the shopper is the anonymous id itself.

        The alias key in Redis expires; it is due again on the first event of each day. An id that is a
        user's has none: who reads by it reads that user. `is_user` says that the anonymous id seems to
        be one, beside those `known`.
        """
        anonymous_id, user_id = event.anonymous_id, event.user_id
        assert anonymous_id is not None
        link = self.users.get(anonymous_id)
        is_known = anonymous_id in self.known
        if user_id is None:
            if is_known:
                self.know(anonymous_id, event.event_ts)
                return Known(anonymous_id, newly_linked=False, conflict=False, alias_due=False)
            if link is None or is_user:
                return None
            user_id = link[0]
        is_user = is_user or is_known
        day = event.event_ts // DAY_MS
        if link is not None and link[0] == user_id:
            due = day > link[1]
            if due:
                self._link(anonymous_id, user_id, day)
            due = due and not is_user
            return Known(user_id, newly_linked=False, conflict=False, alias_due=due)
        self._link(anonymous_id, user_id, day)
        conflict = link is not None or is_user
        return Known(user_id, newly_linked=not conflict, conflict=conflict, alias_due=not is_user)

    def unlink(self, anonymous_id: str) -> bool:
        """A device is nobody's; whether it was somebody's."""
        self.changed.add(anonymous_id)
        return self.users.pop(anonymous_id, None) is not None

    def watch(self, users: Iterable[str]) -> None:
        """Know from now on which devices these users have, and no others: one pass over all links."""
        self._of_users = {user: set() for user in users}
        if self._of_users:
            for name, (user, _) in self.users.items():
                if user in self._of_users:
                    self._of_users[user].add(name)

    def devices_of(self, user: str) -> list[str]:
        """The devices that are linked to a watched user."""
        found = self._of_users.get(user, ())
        return sorted(name for name in found if self.users.get(name, ("",))[0] == user)

    def forget(self, user_id: str) -> None:
        """An id is no user's any longer."""
        if self.known.pop(user_id, None) is not None:
            self.changed.add(user_id)

    def put_away(self, name: str) -> tuple[tuple[str, int] | None, int | None]:
        """Take out what is known of an id."""
        self.changed.add(name)
        return self.users.pop(name, None), self.known.pop(name, None)

    def take_back(self, links: Mapping[str, tuple[str, int]], known: Mapping[str, int]) -> None:
        """Go on with what was put away."""
        for anonymous_id, link in links.items():
            self._link(anonymous_id, *link)
        for user_id, day in known.items():
            self.know(user_id, day * DAY_MS)

    def last_ms(self, name: str) -> int | None:
        """The day an id was last heard of, if anything is known of it."""
        link, day = self.users.get(name), self.known.get(name, -1)
        if link is not None:
            day = max(day, link[1])
        return None if day < 0 else day * DAY_MS

    def _link(self, anonymous_id: str, user_id: str, day: int) -> None:
        self.users[anonymous_id] = (user_id, day)
        if user_id in self._of_users:
            self._of_users[user_id].add(anonymous_id)
        self.idle.add(anonymous_id, day * DAY_MS)
        self.changed.add(anonymous_id)


def device(event: Event) -> str:
    """What an event is first grouped by: the id that the same device always sends."""
    return event.anonymous_id or event.user_id or event.items[0].item_id
