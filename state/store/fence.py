"""Fencing: a writer that lost its lease cannot write any more.

A run that holds a lease has a token, greater than every token before it. A writer first names its
connection after its token, then reads the newest token, and only then writes. A run that takes the
lease over first raises the token, then disconnects every connection that is named after an older
token (`ConnectionPool.disconnect_older_writers`). If the old writer named its connection before that,
it is disconnected, and the server drops the bytes it has not read yet. If it named its connection
later, it reads the raised token and stops. So no order of the two lets an old write through.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from state import keys
from state.errors import LeaseError


class Fence(NamedTuple):
    """The right to write: the name of a lease, and the token that its holder got."""

    name: str
    token: int

    @property
    def connection_prefix(self) -> str:
        """Return the beginning of the names of this writer's connections."""
        return f"{_lease_prefix(self.name)}{self.token}"

    @property
    def token_key(self) -> str:
        """Return the key that holds the newest token."""
        return keys.lease_token_key(self.name)

    def verify(self, newest: Any) -> None:
        """Raise LeaseError if a newer token was given out."""
        if isinstance(newest, Exception):
            raise newest
        if newest is not None and int(newest) > self.token:
            raise LeaseError(
                f"another run took over {self.name} (token {int(newest)} after {self.token}): "
                "stop this one"
            )

    def is_newer_than(self, connection_name: str) -> bool:
        """Whether a connection is named after an older token of this lease."""
        prefix = _lease_prefix(self.name)
        if not connection_name.startswith(prefix):
            return False
        return int(connection_name.removeprefix(prefix).split("-")[0]) < self.token


def _lease_prefix(lease: str) -> str:
    return f"penstock-{quote(lease, safe='').replace('-', '%2D')}-"
