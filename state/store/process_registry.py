"""A roster: which processes of a run across hosts are there, each under its number.

A process renews its entry for as long as it moves; one that is gone leaves an entry that expires. Kept
in Redis as `ps:1:lease:{name}:process:{n}`. What the entries are for: `flows.cluster.rendezvous`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from redis.exceptions import RedisError

from state import keys
from state.store import error_messages
from state.store.addresses import parse
from state.store.store import Client

_WRITE = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).start ~= ARGV[1] and ARGV[4] == '0' then return held end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
"""

_LEAVE = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).start == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Member(msgspec.Struct, frozen=True):
    """A process that is there. `start` is another at every start of it.

    `token` is that of the lease it goes by, 0 while it knows none. `agreed` has a digest of everything
    that must be the same in all processes. Process 0 alone says which `partitions` the recovery folder
    knows and, once all are there, which starts are `called` to begin, by number.
    """

    process: int
    start: str
    host: str
    pid: int
    agreed: dict[str, str]
    token: int = 0
    partitions: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    is_stopping: bool = False

    @property
    def who(self) -> str:
        """Its host and process id, in words."""
        return f"{self.host} process {self.pid}"


class Roster:
    """The entries of the run that goes by the name of a lease. All methods raise UserError."""

    def __init__(self, url: str, name: str, ttl_s: float, *, timeout_ms: int) -> None:
        self._address = parse(url, timeout_ms)
        self._client: Any = Client(self._address)
        self._name = name
        self._ttl_ms = round(ttl_s * 1000)

    def find(self, process: int) -> Member | None:
        """Who is there under a number."""
        found = self._do(process, lambda key: self._client.get(key))
        return None if found is None else msgspec.json.decode(found, type=Member)

    def write(self, member: Member, *, over: bool = False) -> Member | None:
        """Write or renew an entry, `over` whatever other start is there.

        Returns who is in the way otherwise; None: it is written.
        """
        said = (member.start, msgspec.json.encode(member), self._ttl_ms, int(over))
        held = self._do(member.process, lambda key: self._client.eval(_WRITE, 1, key, *said))
        return None if held is None else msgspec.json.decode(held, type=Member)

    def leave(self, member: Member) -> None:
        """Take an entry away, unless another start has the number by now."""
        self._do(member.process, lambda key: self._client.eval(_LEAVE, 1, key, member.start))

    def close(self) -> None:
        """Let go of Redis."""
        self._client.close()

    def _do(self, process: int, ask: Any) -> Any:
        key = keys.member_key(self._name, process)
        try:
            return ask(key)
        except (RedisError, OSError, error_messages.RefusedError) as error:
            self._client.close()
            raise error_messages.failure(self._address.shown, error, key, "EVAL") from error
