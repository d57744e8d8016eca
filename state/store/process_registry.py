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
from state.store.store import RedisClient

_REGISTER_SCRIPT = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).start ~= ARGV[1] and ARGV[4] == '0' then return held end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
"""

_DEREGISTER_SCRIPT = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).start == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class ProcessEntry(msgspec.Struct, frozen=True):
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
    def label(self) -> str:
        """Its host and process id, in words."""
        return f"{self.host} process {self.pid}"


class ProcessRegistry:
    """The entries of the run that goes by the name of a lease. All methods raise UserError."""

    def __init__(self, url: str, name: str, ttl_s: float, *, timeout_ms: int) -> None:
        self._address = parse(url, timeout_ms)
        self._client: Any = RedisClient(self._address)
        self._name = name
        self._ttl_ms = round(ttl_s * 1000)

    def get(self, process: int) -> ProcessEntry | None:
        """Who is there under a number."""
        stored = self._call(process, lambda key: self._client.get(key))
        return None if stored is None else msgspec.json.decode(stored, type=ProcessEntry)

    def write(self, entry: ProcessEntry, *, force: bool = False) -> ProcessEntry | None:
        """Write or renew an entry, `force` whatever other start is there.

        Returns who is in the way otherwise; None: it is written.
        """
        arguments = (entry.start, msgspec.json.encode(entry), self._ttl_ms, int(force))
        stored = self._call(
            entry.process, lambda key: self._client.eval(_REGISTER_SCRIPT, 1, key, *arguments)
        )
        return None if stored is None else msgspec.json.decode(stored, type=ProcessEntry)

    def deregister(self, entry: ProcessEntry) -> None:
        """Take an entry away, unless another start has the number by now."""
        self._call(
            entry.process, lambda key: self._client.eval(_DEREGISTER_SCRIPT, 1, key, entry.start)
        )

    def close(self) -> None:
        """Let go of Redis."""
        self._client.close()

    def _call(self, process: int, operation: Any) -> Any:
        key = keys.process_key(self._name, process)
        try:
            return operation(key)
        except (RedisError, OSError, error_messages.RefusedError) as error:
            self._client.close()
            raise error_messages.store_error(
                self._address.display_url, error, key, "EVAL"
            ) from error
