"""The body of a request, which may come in one part or in very many."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from serving.http.errors import RequestError, read_bytes
from tests.pages import in_loop

LIMIT = 1_000_000


def read(parts: list[bytes], limit: int = LIMIT, *, is_cut: bool = False) -> bytes:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": is_cut or n + 1 < len(parts)}
        for n, part in enumerate(parts)
    ]
    coming = iter([*messages, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(coming)

    return in_loop(read_bytes(Request({"type": "http"}, receive), limit))


@pytest.mark.parametrize("parts", [[b""], [b"abc"], [b"", b"a"], [b"a", b"", b"bc", b"d"]])
def test_a_body_is_the_sum_of_its_parts(parts: list[bytes]) -> None:
    body = read(parts)
    assert (body, type(body)) == (b"".join(parts), bytes)


def test_a_body_has_a_limit_and_an_end() -> None:
    assert read([b"ab", b"c"], 3) == b"abc"
    with pytest.raises(RequestError) as caught:
        read([b"ab", b"cd"], 3)
    assert caught.value.status == 413
    with pytest.raises(ClientDisconnect):
        read([b"ab"], is_cut=True)


def test_a_body_in_many_parts_costs_no_more_than_their_number() -> None:
    def cost_s(count: int) -> float:
        parts, costs = [b"x" * 40] * count, []
        for _ in range(3):
            began_s = time.process_time()
            read(parts)
            costs.append(time.process_time() - began_s)
        return min(costs)

    assert cost_s(24_000) < 10 * cost_s(6_000)  # four times the parts; joined anew: 16 times
