"""Which shopper an id belongs to: the user, once the device has identified; else the device.

A first identification merges the anonymous shopper into the user. An anonymous id that is linked to one
user and identifies as another is not merged: a new link replaces the old one, and counts as a conflict.

One id is one shopper, whether it comes as an anonymous id or as a user id. The first event of an id
decides which of the two it is, by event time among the events that are in time. An id that came first
with a device belongs to the device: a server that sends it as a user id means the device. An id that
came first as a user id belongs to a user: a device that calls itself the same is never merged into
another user. An id that another device has named as its user is a user in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.tables.idle_index import IdleIndex
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from state.events import Event


class Resolution(NamedTuple):
    """The user of an event, and what follows from the event for the link of its device."""

    user_id: str
    is_new_link: bool
    is_conflict: bool
    alias_needs_refresh: bool


class IdentityMap:
    """Links from anonymous ids to users, and the ids that are users for sure.

    `links` maps an anonymous id to `(user id, day of the last alias)`, `known_users` a user id to the
    day it was last seen. An id may be in both: a user's id that a device of another user has used as
    its anonymous id; it then is the id of that user. `dirty_ids` are the ids that the next snapshot has
    to write.
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
        """Note that an id is a user's, and was seen."""
        day = at_ms // DAY_MS
        if self.known_users.get(user_id, -1) < day:
            self.known_users[user_id] = day
            self.idle.add(user_id, day * DAY_MS)
            self.dirty_ids.add(user_id)

    def resolve(self, event: Event, *, is_user: bool = False) -> Resolution | None:
        """The user of an event of a device; None where the anonymous id is its own shopper.

        The alias key in Redis expires, and needs a refresh with the first event of each day. A user's id
        has no alias, since readers find the user by it. `is_user` says that the anonymous id seems to be
        a user's though it is not among `known_users`.
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
        """Remove the link of a device; whether there was one."""
        self.dirty_ids.add(anonymous_id)
        return self.links.pop(anonymous_id, None) is not None

    def track_users(self, user_ids: Iterable[str]) -> None:
        """Index the devices of these users, and of no others. One pass over all links."""
        self._devices_by_user = {user: set() for user in user_ids}
        if self._devices_by_user:
            for name, (user, _) in self.links.items():
                if user in self._devices_by_user:
                    self._devices_by_user[user].add(name)

    def devices_of(self, user_id: str) -> list[str]:
        """The devices that are linked to a tracked user, sorted."""
        devices = self._devices_by_user.get(user_id, ())
        return sorted(name for name in devices if self.links.get(name, ("",))[0] == user_id)

    def remove_user(self, user_id: str) -> None:
        """Forget that an id is a user's."""
        if self.known_users.pop(user_id, None) is not None:
            self.dirty_ids.add(user_id)

    def evict(self, name: str) -> tuple[tuple[str, int] | None, int | None]:
        """Take out the link of an id, and the day it was seen as a user."""
        self.dirty_ids.add(name)
        return self.links.pop(name, None), self.known_users.pop(name, None)

    def restore(self, links: Mapping[str, tuple[str, int]], known_users: Mapping[str, int]) -> None:
        """Put back what `evict` took out."""
        for anonymous_id, link in links.items():
            self._link(anonymous_id, *link)
        for user_id, day in known_users.items():
            self.mark_as_user(user_id, day * DAY_MS)

    def last_ms(self, name: str) -> int | None:
        """The start of the day on which an id was last seen; None for an unknown id."""
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
    """The id by which an event is assigned to a device shard: the one that a device always sends."""
    return event.anonymous_id or event.user_id or event.items[0].item_id
