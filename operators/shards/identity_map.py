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

from operators.tables.idle_index import IdleIndex
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from state.events import Event


class Resolution(NamedTuple):
    """The user of an event, and what the event told about the device it came from."""

    user_id: str
    is_new_link: bool
    is_conflict: bool
    alias_needs_refresh: bool


class IdentityMap:
    """Anonymous ids and the users they became; ids that are users' for sure.

    `users` maps an anonymous id to `(user id, day of last alias)`, `known_users` a user id to the
    day it was
    last heard of. An id may be in both: a user's, by which a device of another user called itself; it
    then leads to nobody but that user. `dirty_ids` are the ids of which a snapshot has to write either.
    """

    __slots__ = ("_devices_by_user", "dirty_ids", "idle", "known_users", "links")

    def __init__(
        self,
        links: dict[str, tuple[str, int]] | None = None,
        known_users: dict[str, int] | None = None,
    ) -> None:
        self.links = {} if links is None else links
        self.known_users = {} if known_users is None else known_users
        self.dirty_ids: set[str] = set()
        self.idle = IdleIndex(DAY_MS)
        self._devices_by_user: dict[str, set[str]] = {}
        for name in {*self.links, *self.known_users}:
            self.idle.add(name, self.last_ms(name) or 0)

    def __contains__(self, name: str) -> bool:
        return name in self.links or name in self.known_users

    def mark_as_user(self, user_id: str, at_ms: int) -> None:
        """An id is a user's, and was heard of."""
        day = at_ms // DAY_MS
        if self.known_users.get(user_id, -1) < day:
            self.known_users[user_id] = day
            self.idle.add(user_id, day * DAY_MS)
            self.dirty_ids.add(user_id)

    def resolve(self, event: Event, *, is_user: bool = False) -> Resolution | None:
        """The user of an event of a device, or None where the shopper is the anonymous id itself.

        The alias key in Redis expires; it is due again on the first event of each day. An id that is a
        user's has none: who reads by it reads that user. `is_user` says that the anonymous id seems to
        be one, beside those `known_users`.
        """
        anonymous_id, user_id = event.anonymous_id, event.user_id
        assert anonymous_id is not None
        link = self.links.get(anonymous_id)
        is_known = anonymous_id in self.known_users
        if user_id is None:
            if is_known:
                self.mark_as_user(anonymous_id, event.event_ts)
                return Resolution(
                    anonymous_id, is_new_link=False, is_conflict=False, alias_needs_refresh=False
                )
            if link is None or is_user:
                return None
            user_id = link[0]
        is_user = is_user or is_known
        day = event.event_ts // DAY_MS
        if link is not None and link[0] == user_id:
            is_due = day > link[1]
            if is_due:
                self._link(anonymous_id, user_id, day)
            is_due = is_due and not is_user
            return Resolution(
                user_id, is_new_link=False, is_conflict=False, alias_needs_refresh=is_due
            )
        self._link(anonymous_id, user_id, day)
        is_conflict = link is not None or is_user
        return Resolution(
            user_id,
            is_new_link=not is_conflict,
            is_conflict=is_conflict,
            alias_needs_refresh=not is_user,
        )

    def unlink(self, anonymous_id: str) -> bool:
        """A device is nobody's; whether it was somebody's."""
        self.dirty_ids.add(anonymous_id)
        return self.links.pop(anonymous_id, None) is not None

    def track_users(self, user_ids: Iterable[str]) -> None:
        """Know from now on which devices these users have, and no others: one pass over all links."""
        self._devices_by_user = {user: set() for user in user_ids}
        if self._devices_by_user:
            for name, (user, _) in self.links.items():
                if user in self._devices_by_user:
                    self._devices_by_user[user].add(name)

    def devices_of(self, user_id: str) -> list[str]:
        """The devices that are linked to a watched user."""
        devices = self._devices_by_user.get(user_id, ())
        return sorted(name for name in devices if self.links.get(name, ("",))[0] == user_id)

    def remove_user(self, user_id: str) -> None:
        """An id is no user's any longer."""
        if self.known_users.pop(user_id, None) is not None:
            self.dirty_ids.add(user_id)

    def evict(self, name: str) -> tuple[tuple[str, int] | None, int | None]:
        """Take out what is known of an id."""
        self.dirty_ids.add(name)
        return self.links.pop(name, None), self.known_users.pop(name, None)

    def restore(self, links: Mapping[str, tuple[str, int]], known_users: Mapping[str, int]) -> None:
        """Go on with what was put away."""
        for anonymous_id, link in links.items():
            self._link(anonymous_id, *link)
        for user_id, day in known_users.items():
            self.mark_as_user(user_id, day * DAY_MS)

    def last_ms(self, name: str) -> int | None:
        """The day an id was last heard of, if anything is known of it."""
        link, day = self.links.get(name), self.known_users.get(name, -1)
        if link is not None:
            day = max(day, link[1])
        return None if day < 0 else day * DAY_MS

    def _link(self, anonymous_id: str, user_id: str, day: int) -> None:
        self.links[anonymous_id] = (user_id, day)
        if user_id in self._devices_by_user:
            self._devices_by_user[user_id].add(anonymous_id)
        self.idle.add(anonymous_id, day * DAY_MS)
        self.dirty_ids.add(anonymous_id)


def device_key(event: Event) -> str:
    """What an event is first grouped by: the id that the same device always sends."""
    return event.anonymous_id or event.user_id or event.items[0].item_id
