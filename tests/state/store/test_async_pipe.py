"""One connection for many callers: each gets its own replies, whatever happens to the others."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ResponseError

from flows.process.embedded_redis import EmbeddedRedis
from state.errors import StoreError
from state.store import AsyncPipe, Store
from tests.pages import in_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE_S = 20


def with_pipe(url: str, work: Callable[[AsyncPipe], Awaitable[Any]], timeout_s: float = 5) -> Any:
    async def run() -> Any:
        pipe = AsyncPipe(url, timeout_ms=2000, call_timeout_s=timeout_s)
        try:
            return await asyncio.wait_for(work(pipe), PATIENCE_S)
        finally:
            await pipe.close()

    return in_loop(run())


def test_each_of_many_callers_gets_its_own_replies(redis_url: str) -> None:
    async def ask(pipe: AsyncPipe) -> list[list[Any]]:
        calls = [pipe.call([("ECHO", f"{n}-{k}") for k in range(1 + n % 4)]) for n in range(300)]
        return [*await asyncio.gather(*calls)]

    expected = [[f"{n}-{k}".encode() for k in range(1 + n % 4)] for n in range(300)]
    assert with_pipe(redis_url, ask) == expected


def test_an_error_is_its_callers_alone(redis_url: str) -> None:
    async def ask(pipe: AsyncPipe) -> list[Any]:
        await pipe.call([("SET", "text", "a")])
        calls = [pipe.call([("GET", "text")]), pipe.call([("HGETALL", "text")])]
        return await asyncio.gather(*calls, pipe.call([("GET", "text")]), return_exceptions=True)

    first, refused, last = with_pipe(redis_url, ask)
    assert (first, last) == ([b"a"], [b"a"])
    assert isinstance(refused, StoreError)
    assert "holds another program's value at text" in str(refused)


def test_who_gives_up_costs_no_other_a_reply(redis_url: str) -> None:
    async def ask(pipe: AsyncPipe) -> list[Any]:
        await pipe.call([("PING", "")])
        given_up = asyncio.create_task(pipe.call([("ECHO", "nobody")]))
        await asyncio.sleep(0)
        given_up.cancel()
        return await pipe.call([("ECHO", "mine")])

    assert with_pipe(redis_url, ask) == [b"mine"]


def test_a_paused_server_costs_the_time_limit_and_is_used_when_it_goes_on() -> None:
    with EmbeddedRedis() as redis:
        client = Store(redis.url, timeout_ms=2000, patience_s=0).client
        process = int(client.info("server")["process_id"])

        async def ask(pipe: AsyncPipe) -> list[Any]:
            await pipe.call([("ECHO", "before")])
            os.kill(process, signal.SIGSTOP)
            try:
                calls = [pipe.call([("ECHO", f"paused-{n}")]) for n in range(5)]
                answers = await asyncio.gather(*calls, return_exceptions=True)
            finally:
                os.kill(process, signal.SIGCONT)
            while True:
                try:
                    after = await pipe.call([("ECHO", "after")])
                except TimeoutError:
                    continue
                return [*answers, *after]

        *paused, after = with_pipe(redis.url, ask, timeout_s=0.2)
        assert [type(one) for one in paused] == [TimeoutError] * 5
        assert after == b"after"


def test_a_server_that_was_away_is_connected_again() -> None:
    with EmbeddedRedis() as redis:

        async def ask(pipe: AsyncPipe) -> list[Any]:
            found = [await pipe.call([("ECHO", "first")])]
            await asyncio.to_thread(redis.stop)
            for _ in range(3):
                with pytest.raises((StoreError, TimeoutError)):
                    await pipe.call([("ECHO", "away")])
            await asyncio.to_thread(redis.start)
            while len(found) < 2:
                try:
                    found.append(await pipe.call([("ECHO", "again")]))
                except StoreError:
                    await asyncio.sleep(0.05)
            return found

        assert with_pipe(redis.url, ask) == [[b"first"], [b"again"]]


def test_a_server_without_an_answer_is_named() -> None:
    async def ask(pipe: AsyncPipe) -> Any:
        return await pipe.call([("GET", "a")])

    with pytest.raises(StoreError, match=r"nowhere/redis\.sock does not answer: start it"):
        with_pipe("unix:///nowhere/redis.sock", ask)


def test_a_connection_that_ends_before_it_is_used_leaves_nobody_waiting(redis_url: str) -> None:
    async def ask(pipe: AsyncPipe) -> Any:
        await pipe.call([("PING", "")])
        link = pipe._link
        assert link is not None
        waits = link.call(b"", 1)
        link.end(ConnectionError("ended"))
        with pytest.raises(ConnectionError):
            await waits
        with pytest.raises(ConnectionError):
            link.call(b"", 1)
        return await pipe.call([("ECHO", "again")])

    assert with_pipe(redis_url, ask) == [b"again"]


def test_an_attempt_that_fails_leaves_no_connection_open() -> None:
    """Redis refuses everything while a script runs, but keeps the connection."""
    with EmbeddedRedis(lua_time_limit="1") as redis:
        client = Store(redis.url, timeout_ms=20_000, patience_s=0).client
        client.ping()
        before = len(client.client_list())

        async def ask(pipe: AsyncPipe) -> int:
            script = asyncio.create_task(asyncio.to_thread(run_for_ever))
            failures = 0
            while failures < 20:
                try:
                    await pipe.call([("GET", "a")])
                except StoreError as error:
                    assert "is running a long script" in str(error)  # noqa: PT017
                    failures += 1
            redis.send_command("SCRIPT KILL")
            await script
            return len(client.client_list()) - before

        def run_for_ever() -> None:
            with pytest.raises(ResponseError, match="killed"):
                client.eval("while true do end", 0)

        assert with_pipe(redis.url, ask) == 0
