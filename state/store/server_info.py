"""What a Redis tells of itself: whether it is one that a run can rely on. Nothing here connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from state.store.addresses import Kind

OLDEST = (6, 2)


class About(NamedTuple):
    """`version` and `policy`, which is what goes when memory is full, are "" where we may not ask."""

    kind: Kind
    name: str
    version: str
    policy: str

    @property
    def is_too_old(self) -> bool:
        """Whether it lacks commands that we send.

        >>> [About("server", "redis", one, "").is_too_old for one in ("6.0.16", "6.2.0", "10.0", "")]
        [True, False, False, False]
        """
        numbers = tuple(int(number) for number in self.version.split(".")[:2] if number.isdecimal())
        return bool(numbers) and numbers < OLDEST

    @property
    def evicts_what_must_stay(self) -> bool:
        """Whether segments and streams, which have no expiry, go when memory is full."""
        return self.policy.startswith("allkeys-")
