"""Hostile clients all at once: each is refused as documented, and `/healthz` answers all the while."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from serving.collector.redis_log import RedisEventLog
from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE, StorefrontAccess
from state import keys
from state.store import AsyncAppender, Store
from tests.serving.storefront.servers import Door, open_door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, SECRET = "pk-public", "a-secret-of-at-least-24-characters"
AS_PAGE = {"X-Penstock-Key": KEY}
NOW_S = 1_800_000_000
FLOOD = 400


def access(now_s: float = NOW_S) -> StorefrontAccess:
    variables = {KEY_VARIABLE: KEY, SECRET_VARIABLE: SECRET}
    return StorefrontAccess(
        "0.0.0.0", (), visitor_days=396, clock_s=lambda: now_s, environment=variables
    )


@pytest.fixture
def door(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    own = {"at": 1, "source": "blend", "items": [["of-ann", 0.5, "popular"]]}
    client.set(keys.top_key("ann", "home"), json.dumps(own))
    log = RedisEventLog(AsyncAppender(redis_url, timeout_ms=5000), 1)
    with open_door(redis_url, log, rate_max=20) as door:
        yield door


def guess_ids(door: Door) -> set[int]:
    """Lists of others, by their ids alone."""
    paths = [f"/v1/lists/home?{name}=ann" for name in ("visitor", "shopper")]
    paths += [f"/v1/shopper?{name}=ann" for name in ("visitor", "shopper")]
    answers = [door.get(path, **AS_PAGE) for path in paths]
    assert not any(b"of-ann" in one.body for one in answers)
    return {one.status for one in answers}


def forge_cookies(door: Door) -> set[int]:
    """Cookies with a signature of nobody, of another, of long ago, and with a later expiry."""
    signature = access().sign("ann")
    forged = (
        "ann~1.00",
        f"ann~{access().sign('bob')}",
        f"ann~{access(1).sign('ann')}",
        f"ann~{NOW_S * 10}.{signature.partition('.')[2]}",
    )
    answers = [
        door.get("/v1/lists/home", **AS_PAGE, Cookie=f"penstock_visitor={one}") for one in forged
    ]
    assert not any(b"of-ann" in one.body for one in answers)
    return {one.status for one in answers}


def replay_signatures(door: Door) -> set[int]:
    """Signatures of another visitor, and of one's own that have expired."""
    replayed = (access().sign("bob"), access(1).sign("ann"))
    answers = [
        door.get(f"/v1/lists/home?visitor=ann&sig={signature}", **AS_PAGE) for signature in replayed
    ]
    assert not any(b"of-ann" in one.body for one in answers)
    return {one.status for one in answers}


def send_much(door: Door) -> set[int]:
    """Bodies of a megabyte, where 64 KB are the most, and of more than a megabyte to the collector."""
    answers = [
        door.post("/v1/lists", b" " * 1_000_000, **AS_PAGE),
        door.post("/v1/events", b" " * 1_100_000, **AS_PAGE),
    ]
    return {one.status for one in answers}


def send_deep_json(door: Door) -> set[int]:
    """Arrays and objects in each other."""
    deep = [b"[" * 50_000, b'{"slots":' + b'[{"a":' * 5000]
    answers = [door.post("/v1/lists", body, **AS_PAGE) for body in deep]
    answers += [door.post("/v1/events", body, **AS_PAGE) for body in deep[:1]]
    return {one.status for one in answers}


def send_half(door: Door) -> set[int]:
    """Heads and bodies that do not end, on many connections."""
    host, port = door.host.split(":")
    half = [socket.create_connection((host, int(port))) for _ in range(60)]
    for number, one in enumerate(half):
        head = b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        one.sendall(head + (b"X-Slow: " if number % 2 else b"Content-Length: 900\r\n\r\n[{"))
    status = door.get("/healthz").status
    for one in half:
        one.close()
    return {status}


def flood(door: Door) -> set[int]:
    """More requests than an address may send."""
    return {door.get("/v1/lists/home", **AS_PAGE).status for _ in range(FLOOD)}


HOSTILE: dict[Callable[[Door], set[int]], set[int]] = {
    guess_ids: {403},
    forge_cookies: {200},  # as nobody
    replay_signatures: {403},
    send_much: {413},
    send_deep_json: {400},
    send_half: {200},
    flood: {200, 429},
}


@pytest.mark.parametrize("client", HOSTILE, ids=lambda client: client.__name__)
def test_a_hostile_client_is_refused(door: Door, client: Callable[[Door], set[int]]) -> None:
    assert client(door) == HOSTILE[client]


def test_health_is_answered_while_all_of_them_come_at_once(door: Door) -> None:
    failures: list[Any] = []
    health: Counter[int] = Counter()
    is_over = threading.Event()

    def attack(client: Callable[[Door], set[int]]) -> None:
        # Whoever floods takes the rate of the address from all the others.
        if not client(door) <= HOSTILE[client] | {429}:
            failures.append(client)

    def ask() -> None:
        while not is_over.is_set():
            health[door.get("/healthz").status] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    attacks = [threading.Thread(target=attack, args=(client,)) for client in HOSTILE]
    for one in attacks:
        one.start()
    for one in attacks:
        one.join()
    is_over.set()
    asking.join()
    assert failures == []
    assert set(health) == {200}
    assert health[200] > 3
