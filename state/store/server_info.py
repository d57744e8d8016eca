"""What a Redis tells of itself: whether it is one that a run can rely on. Nothing here connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from state.store.addresses import ServerKind

VERSION_MIN = (6, 2)


class ServerInfo(NamedTuple):
    """`version` and `policy`, which is what goes when memory is full, are "" where we may not ask."""

    kind: ServerKind
    name: str
    version: str
    policy: str

    @property
    def is_too_old(self) -> bool:
        """Whether it lacks commands that we send.

        >>> versions = ("6.0.16", "6.2.0", "10.0", "")
        >>> [ServerInfo("server", "redis", version, "").is_too_old for version in versions]
        [True, False, False, False]
        """
        numbers = tuple(int(number) for number in self.version.split(".")[:2] if number.isdecimal())
        return bool(numbers) and numbers < VERSION_MIN

    @property
    def evicts_persistent_keys(self) -> bool:
        """Whether segments and streams, which have no expiry, go when memory is full."""
        return self.policy.startswith("allkeys-")
