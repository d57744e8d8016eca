"""Turns errors of Redis into one line: what is wrong and what a person can do about it.

To add a case: a reply code that may pass goes into `_TEMPORARY_ERRORS`, any other into `advice`.
"""

from __future__ import annotations

import ssl

import redis
from hiredis import HiredisError
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)

from state.errors import StoreError
from state.store.addresses import LOGIN_VARIABLE, USER_VARIABLE


class RefusedError(Exception):
    """An error reply that may pass: the write stays queued and is sent again."""


REDIS_ERRORS = (RedisError, RedisClusterException, HiredisError, RefusedError)
"""Errors of the libraries: that of a cluster without any node is no RedisError."""
RETRYABLE_ERRORS = (OSError, *REDIS_ERRORS)
"""Errors after which a new connection may succeed."""

_TEMPORARY_ERRORS = {
    "READONLY": "is read-only, perhaps a replica: point redis.url at the primary",
    "OOM": "is full: raise its maxmemory, or give it an eviction policy that spares keys without expiry",
    "LOADING": "is still loading its data",
    "MISCONF": "cannot save to its disk and refuses writes: free the disk",
    "MASTERDOWN": "has lost its primary",
    "NOREPLICAS": "has too few replicas: start them, or lower redis.replicas",
    "CLUSTERDOWN": "is a cluster that is down",
    "MOVED": "has moved some keys to another node",
    "ASK": "is moving some keys to another node",
    "TRYAGAIN": "is moving some keys to another node",
    "BUSY": "is running a long script",
    "UNKILLABLE": "is running a long script",
}
_LOGIN_ERRORS = {"NOAUTH", "WRONGPASS"}


def is_permanent(error: BaseException) -> bool:
    """Whether waiting cannot help: the login is refused, or the certificate is not trusted."""
    if isinstance(error, NoPermissionError):
        return True
    return (
        isinstance(error, AuthenticationError | AuthorizationError)
        or _certificate_problem(error) != ""
    )


def store_error(address: str, error: BaseException, key: str = "", command: str = "") -> StoreError:
    """Return the error with one line about its cause.

    `key` and `command` are those of the failed write.
    """
    return StoreError(f"Redis at {address} {advice(error, key, command)}")


def refusal_error(address: str, reply: str, key: str, command: str) -> Exception:
    """Return the exception for an error reply to a write: RefusedError if it may pass."""
    if reply.split(" ", 1)[0] in _TEMPORARY_ERRORS:
        return RefusedError(reply)
    return store_error(address, RefusedError(reply), key, command)


def advice(error: BaseException, key: str = "", command: str = "") -> str:
    """Describe what is wrong and what a person can do about it."""
    text = " ".join(str(error).split())
    code = _error_code(error, text)
    if code in _TEMPORARY_ERRORS:
        return _TEMPORARY_ERRORS[code]
    if code == "NOPERM" or isinstance(error, NoPermissionError):
        action = f"{command} on {key}" if command else "a command"
        return f"refused the user {action} ({text}): give it the rights that docs/redis.md lists"
    if code in _LOGIN_ERRORS or isinstance(error, AuthenticationError | AuthorizationError):
        return f"refused the login ({text}): set {LOGIN_VARIABLE} (and {USER_VARIABLE}, if it has users)"
    if code == "WRONGTYPE":
        return f"holds another program's value at {key}: delete that key, or use another database"
    if certificate := _certificate_problem(error):
        return (
            f"shows a certificate that is not trusted ({certificate}): "
            "name its authority with ?ssl_ca_certs=FILE in redis.url"
        )
    if isinstance(error, HiredisError | redis.InvalidResponse):
        return "does not speak as Redis does: set redis.url (--redis URL)"
    if isinstance(
        error, OSError | redis.ConnectionError | redis.TimeoutError | RedisClusterException
    ):
        return "does not answer: start it, or set redis.url (--redis URL)"
    return f"refused to write {key}: {text}: expected Redis 6.2 or later, or Valkey"


def _error_code(error: BaseException, text: str) -> str:
    """Return the reply code of an error; redis-py strips it from some of its errors."""
    kinds = {
        redis.ReadOnlyError: "READONLY",
        redis.OutOfMemoryError: "OOM",
        redis.BusyLoadingError: "LOADING",
        redis.exceptions.MasterDownError: "MASTERDOWN",
        redis.exceptions.ClusterDownError: "CLUSTERDOWN",
    }
    for kind, code in kinds.items():
        if isinstance(error, kind):
            return code
    return text.split(" ", 1)[0].rstrip(":")


def _certificate_problem(error: BaseException | None) -> str:
    """Return why a certificate is not trusted, "" if the error has another cause."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if "certificate verify failed" in str(error):
            return "certificate verify failed"
        error = error.__cause__ or error.__context__
    return ""
