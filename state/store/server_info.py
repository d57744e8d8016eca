"""What a Redis server reports about itself, and whether a run can rely on it. Nothing here connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from state.store.addresses import ServerKind

VERSION_MIN = (6, 2)


class ServerInfo(NamedTuple):
    """Kind, name, version and eviction policy of a server.

    `version` and `policy` are "" where the user may not run INFO.
    """

    kind: ServerKind
    name: str
    version: str
    policy: str

    @property
    def is_too_old(self) -> bool:
        """Whether the server lacks commands that Penstock sends.

        >>> versions = ("6.0.16", "6.2.0", "10.0", "")
        >>> [ServerInfo("server", "redis", version, "").is_too_old for version in versions]
        [True, False, False, False]
        """
        numbers = tuple(int(number) for number in self.version.split(".")[:2] if number.isdecimal())
        return bool(numbers) and numbers < VERSION_MIN

    @property
    def evicts_persistent_keys(self) -> bool:
        """Whether a full server may evict segments and streams, which have no expiry."""
        return self.policy.startswith("allkeys-")
