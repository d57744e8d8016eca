"""Fencing: a writer that lost its lease cannot write any more.

A run that holds a lease has a token, greater than every token before it. A writer first names its
connection after its token, then reads the newest token, and only then writes. A run that takes the
lease over first raises the token, then disconnects every connection that is named after an older
token (`connections.disconnect_older`). If the old writer named its connection before that, it is
disconnected, and the server drops the bytes it has not read yet. If it named its connection later,
it reads the raised token and stops. So no order of the two lets an old write through.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from state import keys
from state.errors import LeaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.store.connections import Connection

_log = logging.getLogger("penstock.redis")


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


def disconnect_older(connection: Connection, fence: Fence) -> None:
    """Disconnect every connection to a node that is named after an older token."""

    def is_old(name: str) -> bool:
        if not name.startswith(_lease_prefix(fence.name)):
            return False
        return int(name.removeprefix(_lease_prefix(fence.name)).split("-")[0]) < fence.token

    disconnect(connection, is_old)


def disconnect(connection: Connection, matches: Callable[[str], bool]) -> None:
    """Disconnect the other connections to a node whose names match."""
    own_id, clients = connection.call(("CLIENT", "ID"), ("CLIENT", "LIST"))
    if isinstance(own_id, Exception) or isinstance(clients, Exception):
        _log.warning(
            "Redis does not let us list connections (%s): an old writer is kept out only when it "
            "connects again; allow +client|id, +client|list and +client|kill",
            own_id if isinstance(own_id, Exception) else clients,
        )
        return
    for line in clients.decode().splitlines():
        fields = dict(part.partition("=")[::2] for part in line.split(" "))
        if int(fields["id"]) != own_id and matches(fields.get("name", "")):
            connection.call(("CLIENT", "KILL", "ID", fields["id"]))


def _lease_prefix(lease: str) -> str:
    return f"penstock-{quote(lease, safe='').replace('-', '%2D')}-"
