"""The registry of the processes of a run on several hosts, one entry for each process number.

A process renews its entry while it makes progress; the entry of a process that ended expires. Redis
stores an entry as `ps:1:lease:{name}:process:{n}`. `flows.cluster.rendezvous` uses the entries. The
fields of `ProcessEntry` are stored names: processes of one run may have different releases for a
moment.
"""

from __future__ import annotations

from typing import Any

import msgspec

from state import keys
from state.store import error_messages
from state.store.addresses import parse
from state.store.client import RedisClient

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
    """The entry of one running process. `start` is a new id at each start of the process.

    `token` is that of the lease that the process follows, 0 while it knows none. `agreed` has a
    digest of each setting that must be equal in all processes. Only process 0 fills `partitions`,
    the partitions in the recovery folder, and, once all processes are present, `called`: the starts
    that it admitted, by process number.
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
        """Return host and process id as text."""
        return f"{self.host} process {self.pid}"


class ProcessRegistry:
    """The entries of the run that holds a lease. All methods raise StoreError."""

    def __init__(self, url: str, name: str, ttl_s: float, *, timeout_ms: int) -> None:
        self._address = parse(url, timeout_ms)
        self._client: Any = RedisClient(self._address)
        self._name = name
        self._ttl_ms = round(ttl_s * 1000)

    def get(self, process: int) -> ProcessEntry | None:
        """Return the entry of a process number, None if there is none."""
        stored = self._call(process, lambda key: self._client.get(key))
        return None if stored is None else msgspec.json.decode(stored, type=ProcessEntry)

    def write(self, entry: ProcessEntry, *, force: bool = False) -> ProcessEntry | None:
        """Write or renew an entry; with `force` also over the entry of another start.

        Returns None if it was written, else the entry of the other start.
        """
        arguments = (entry.start, msgspec.json.encode(entry), self._ttl_ms, int(force))
        stored = self._call(
            entry.process, lambda key: self._client.eval(_REGISTER_SCRIPT, 1, key, *arguments)
        )
        return None if stored is None else msgspec.json.decode(stored, type=ProcessEntry)

    def deregister(self, entry: ProcessEntry) -> None:
        """Delete an entry, unless another start has the process number by now."""
        self._call(
            entry.process, lambda key: self._client.eval(_DEREGISTER_SCRIPT, 1, key, entry.start)
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, process: int, operation: Any) -> Any:
        key = keys.process_key(self._name, process)
        try:
            return operation(key)
        except error_messages.RETRYABLE_ERRORS as error:
            self._client.close()
            raise error_messages.store_error(
                self._address.display_url, error, key, "EVAL"
            ) from error
