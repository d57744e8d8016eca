"""An append returns when the entries are on the disk, where the server can say so (`WAITAOF`)."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from state import keys
from state.errors import StoreError
from state.store import AsyncAppender, Store
from tests.pages import in_loop
from tests.valkey import valkey_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flows.process.embedded_redis import EmbeddedRedis

STREAM = keys.events_key(0)

__all__ = ["valkey_server"]


def with_appender(
    url: str, work: Callable[[AsyncAppender], Awaitable[Any]], timeout_ms: int = 10_000
) -> Any:
    async def run() -> Any:
        appender = AsyncAppender(url, timeout_ms=timeout_ms)
        try:
            return await asyncio.wait_for(work(appender), 60)
        finally:
            await appender.close()

    return in_loop(run())


def client_of(server: EmbeddedRedis) -> Any:
    return Store(server.url, timeout_ms=5000, patience_s=0).client


def waits(client: Any) -> int:
    """How often the server was asked to wait for its disk."""
    stats = client.info("commandstats").get("cmdstat_waitaof", {})
    return int(stats.get("calls", 0))


def values(client: Any) -> list[bytes]:
    return [fields[b"e"] for _, fields in client.xrange(STREAM)]


def test_an_append_waits_for_the_disk(valkey_server: EmbeddedRedis) -> None:
    client = client_of(valkey_server)

    async def work(appender: AsyncAppender) -> None:
        await appender.append([(STREAM, b"1"), (STREAM, b"2")])

    with_appender(valkey_server.url, work)
    assert values(client) == [b"1", b"2"]
    assert waits(client) == 2  # whether there is such a command, and for the entries
    assert client.execute_command("WAITAOF", 1, 0, 1)[0] == 1


def test_a_disk_that_nobody_synchronises_is_not_waited_for(valkey_server: EmbeddedRedis) -> None:
    client = client_of(valkey_server)
    client.config_set("appendfsync", "no")

    async def work(appender: AsyncAppender) -> None:
        await appender.append([(STREAM, b"1")])

    with_appender(valkey_server.url, work)
    assert values(client) == [b"1"]
    assert waits(client) == 1


def test_a_server_whose_file_is_turned_off_goes_on_without(valkey_server: EmbeddedRedis) -> None:
    client = client_of(valkey_server)

    async def work(appender: AsyncAppender) -> None:
        await appender.append([(STREAM, b"1")])
        client.config_set("appendonly", "no")
        with pytest.raises(StoreError):
            await appender.append([(STREAM, b"2")])
        await appender.append([(STREAM, b"3")])

    with_appender(valkey_server.url, work)
    assert {b"1", b"3"} <= {*values(client)}


def test_what_was_acknowledged_outlives_a_server_that_is_killed(
    valkey_server: EmbeddedRedis,
) -> None:
    process = int(client_of(valkey_server).info("server")["process_id"])
    acknowledged: set[bytes] = set()

    async def send(appender: AsyncAppender, sender: int) -> None:
        number = 0
        while True:
            value = b"%d-%d" % (sender, number)
            try:
                await appender.append([(STREAM, value)])
            except (StoreError, TimeoutError):
                return
            acknowledged.add(value)
            number += 1

    async def work(appender: AsyncAppender) -> None:
        senders = [asyncio.create_task(send(appender, n)) for n in range(8)]
        while len(acknowledged) < 20:
            await asyncio.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        await asyncio.gather(*senders)

    with_appender(valkey_server.url, work)
    valkey_server.stop()
    valkey_server.start()
    assert acknowledged <= {*values(client_of(valkey_server))}
