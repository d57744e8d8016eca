"""The writer lease: at most one run writes under a name, and each new holder gets a greater token.

Redis stores it as `ps:1:lease:{name}` (the holder; expires) and `ps:1:lease:{name}:token` (the newest
token; never expires). `fence` describes how an old holder is kept out. An outage of Redis does not lose
the lease, since no other run can take it meanwhile. The lease is lost when a newer token was given out.
A failover can lose the newest token; since a token is at least the time in ms when it was taken, it is
not given out twice. The scripts and the fields of the stored value are a contract between releases.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import msgspec

from state import keys
from state.errors import LeaseError
from state.store import error_messages
from state.store.addresses import parse
from state.store.client import RedisClient
from state.store.connections import ConnectionPool
from state.store.fence import Fence

TIMEOUT_MS = 2000
_NO_TOKEN_LIMIT = 2**53  # the greatest whole number that Lua has

_ACQUIRE_SCRIPT = """
local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
if newest > tonumber(ARGV[5]) then return {0} end
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).holder ~= ARGV[1] then
  return {0, held, redis.call('PTTL', KEYS[1])}
end
local token = math.max(newest + 1, tonumber(ARGV[4]))
local text = string.format('%.0f', token)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], cjson.encode(
  {token = text, holder = ARGV[1], who = ARGV[2], since_ms = ARGV[4]}), 'PX', ARGV[3])
return {token}
"""

# If the lease expired or was lost by Redis and no other run took it, this run still holds it.
_RENEW_SCRIPT = """
local newest = tonumber(redis.call('GET', KEYS[2]) or '0')
if newest > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], cjson.encode(
  {token = ARGV[1], holder = ARGV[2], who = ARGV[3], since_ms = ARGV[5]}), 'PX', ARGV[4])
return 1
"""

_RELEASE_SCRIPT = """
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).token == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class _LeaseHolder(msgspec.Struct):
    token: str
    holder: str
    who: str
    since_ms: str


class Lease:
    """The right to write under a name, renewed by a thread until `release`.

    `owner` is the same for a run and its restart, so a restart takes the lease at once. `lost` is set
    when another owner took the lease over.
    """

    def __init__(
        self, url: str, name: str, owner: str, ttl_s: float, *, timeout_ms: int = TIMEOUT_MS
    ) -> None:
        self._address = parse(url, timeout_ms)
        self._timeout_ms = timeout_ms
        self._client: Any = RedisClient(self._address)
        self._name = name
        self._owner = owner
        self._label = f"{socket.gethostname()} process {os.getpid()}"
        self._ttl_ms = round(ttl_s * 1000)
        self._keys = (keys.lease_key(name), keys.lease_token_key(name))
        self._since_ms = 0
        self._token = 0
        self.lost = threading.Event()
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, previous: Fence | None = None) -> int:
        """Take the lease, disconnect older holders and return the token.

        Raises LeaseError if another owner holds it, or has held it since this run wrote under
        `previous`; StoreError if Redis does not answer.
        """
        token_limit = previous.token if previous else _NO_TOKEN_LIMIT
        self._since_ms = time.time_ns() // 1_000_000
        try:
            token, *rejection = self._client.eval(
                _ACQUIRE_SCRIPT,
                2,
                *self._keys,
                self._owner,
                self._label,
                self._ttl_ms,
                self._since_ms,
                token_limit,
            )
        except error_messages.RETRYABLE_ERRORS as error:
            raise error_messages.store_error(
                self._address.display_url, error, self._keys[0], "EVAL"
            ) from error
        if rejection:
            raise LeaseError(self._already_held_text(*rejection))
        if not token:
            raise self.lost_error()
        self._token = int(token)
        self.lost.clear()
        self._released.clear()
        self._disconnect_older_writers()
        self._thread = threading.Thread(target=self._renew_loop, name="redis-lease", daemon=True)
        self._thread.start()
        return self._token

    def stop_renewing(self) -> None:
        """Stop renewing: the lease expires unless the same owner takes it again."""
        self._released.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def release(self) -> None:
        """Delete the lease, so that another owner need not wait until it expires."""
        if self._thread is None:
            return
        self.stop_renewing()
        try:
            self._client.eval(_RELEASE_SCRIPT, 2, *self._keys, self._token)
        except error_messages.RETRYABLE_ERRORS:
            pass  # the lease expires on its own
        finally:
            self._client.close()

    @property
    def fence(self) -> Fence:
        """Return the fence that writers of this lease must check."""
        return Fence(self._name, self._token)

    def lost_error(self) -> LeaseError:
        """Return the error for a lease that another run took over."""
        return LeaseError(
            f"another run took over {self._name}: this one ends and writes nothing more"
        )

    def describe_holder(self) -> str:
        """Describe who holds the lease and since when; "" if it is free. Raises StoreError."""
        try:
            stored = self._client.get(self._keys[0])
        except error_messages.RETRYABLE_ERRORS as error:
            raise error_messages.store_error(
                self._address.display_url, error, self._keys[0], "GET"
            ) from error
        finally:
            self._client.close()
        if stored is None:
            return ""
        holder = msgspec.json.decode(stored, type=_LeaseHolder)
        return f"held by {holder.who} for {_seconds_since(holder, time.time_ns() // 1_000_000)} s"

    def _disconnect_older_writers(self) -> None:
        pool = ConnectionPool(self._address, self._timeout_ms, self.fence)
        try:
            pool.disconnect_older_writers(self.fence)
        except error_messages.RETRYABLE_ERRORS as error:
            raise error_messages.store_error(
                self._address.display_url, error, self._keys[0], "CLIENT"
            ) from error
        finally:
            pool.close()

    def _renew_loop(self) -> None:
        pause_s = self._ttl_ms / 3000
        while not self._released.wait(pause_s):
            try:
                is_ours = self._client.eval(
                    _RENEW_SCRIPT,
                    2,
                    *self._keys,
                    self._token,
                    self._owner,
                    self._label,
                    self._ttl_ms,
                    self._since_ms,
                )
            except error_messages.RETRYABLE_ERRORS:
                self._client.close()
                continue
            if not is_ours:
                self.lost.set()
                return

    def _already_held_text(self, stored: bytes, remaining_ms: int) -> str:
        holder = msgspec.json.decode(stored, type=_LeaseHolder)
        held_s = _seconds_since(holder, self._since_ms)
        return (
            f"{self._name} is run by {holder.who} already, for {held_s} s: stop that one first, or wait "
            f"{max(0, remaining_ms) // 1000 + 1} s if it is gone"
        )


def _seconds_since(holder: _LeaseHolder, now_ms: int) -> int:
    return max(0, now_ms - int(holder.since_ms)) // 1000
