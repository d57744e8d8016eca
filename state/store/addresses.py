"""Parses `redis.url`: one server, a primary behind Sentinel or a cluster, and the login.

Nothing here connects. May change freely; docs/redis.md and config.yaml describe every form.
"""

from __future__ import annotations

import os
import re
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from state.errors import ConfigurationError

LOGIN_VARIABLE = "PENSTOCK_REDIS_PASSWORD"
USER_VARIABLE = "PENSTOCK_REDIS_USERNAME"

ServerKind = Literal["server", "sentinel", "cluster"]
NodeAddress = tuple[str, int]
"""Host and port of a node."""


class Address(NamedTuple):
    """The address of Redis and the login.

    `seeds` are the nodes of the URL, `service` is the name of the primary in Sentinel, and
    `display_url` is the URL without the login.
    """

    display_url: str
    kind: ServerKind
    seeds: list[NodeAddress]
    service: str
    connect: type[Any]
    options: dict[str, Any]

    def connection(self, node: NodeAddress | None = None) -> Any:
        """Return a redis-py connection to a node, not opened yet; None: the server of the URL."""
        host_port = {} if node is None else {"host": node[0], "port": node[1]}
        return self.connect(**{**self.options, **host_port})


def parse(url: str, timeout_ms: int) -> Address:
    """Parse a URL. A login in the URL wins over the environment. Raises ConfigurationError."""
    display_url = url
    try:
        display_url = _without_login(url)
        parts = urlsplit(url)
        scheme, _, form = parts.scheme.partition("+")
        if form not in ("", "sentinel", "cluster"):
            raise ValueError(form)
        login, at, hosts = parts.netloc.rpartition("@")
        names, path, service = hosts.split(","), parts.path, ""
        if form == "sentinel":
            service, _, database = path.lstrip("/").partition("/")
            path = f"/{database}"
            if not service:
                raise ValueError("no service")
        first = parts._replace(scheme=scheme, netloc=login + at + names[0], path=path)
        plain = first.geturl() if form else url
        pool = redis.ConnectionPool.from_url(plain, **_login_from_environment(), protocol=2)
        seeds = [_parse_node(name, 26379 if form == "sentinel" else 6379) for name in names if form]
    except ValueError as error:
        raise ConfigurationError(
            f"redis.url {display_url}: expected redis://, rediss://, unix://, redis+cluster://host,host "
            "or redis+sentinel://host,host/service"
        ) from error
    timeout_s = timeout_ms / 1000
    options = pool.connection_kwargs | {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    kind: ServerKind = form or "server"  # type: ignore[assignment]
    return Address(display_url, kind, seeds, service, pool.connection_class, options)


def _parse_node(name: str, port: int) -> NodeAddress:
    parts = urlsplit(f"//{name}")
    if not parts.hostname:
        raise ValueError(name)
    return parts.hostname, parts.port or port


def _login_from_environment() -> dict[str, str]:
    variables = {
        "username": os.environ.get(USER_VARIABLE),
        "password": os.environ.get(LOGIN_VARIABLE),
    }
    return {name: value for name, value in variables.items() if value}


def _without_login(url: str) -> str:
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    return re.sub(r"(?<=password=)[^&]*", "...", url.replace(login + at, "", 1))
