"""Erased shoppers are deleted from histories in the background of a live flow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from flows.sinks import scrub_pass
from flows.sinks.scrubber import Scrubber
from state import keys
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = keys.change_stream_key(3)
ENTRIES = 500
PATIENCE_S = 60


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(scrub_pass, "PAGE_ENTRIES", 50)
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    for number in range(1, ENTRIES + 1):
        tell(store, number, "enter", f"shopper {number % 10}")
    yield store
    store.close()


def tell(store: Store, number: int, kind: str, shopper: str) -> None:
    entry = {"kind": kind, "shopper": shopper, "segment": "vip", "event_ts": number}
    store.client.xadd(KEY, entry, id=f"{number}-1")


def told_of(store: Store) -> set[tuple[str, str]]:
    entries = store.client.xrange(KEY)
    return {(fields[b"kind"].decode(), fields[b"shopper"].decode()) for _, fields in entries}


def until(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_request_during_a_pass_leads_to_another_pass(client: Store, redis_url: str) -> None:
    scrubber = Scrubber(lambda: Store(redis_url, timeout_ms=2000, patience_s=2), 7)
    tell(client, ENTRIES + 1, "erase", "shopper 1")
    scrubber.request_pass()
    tell(client, ENTRIES + 2, "erase", "shopper 2")
    scrubber.request_pass()
    until(lambda: scrubber.is_clean)
    others = {("enter", f"shopper {n}") for n in (0, 3, 4, 5, 6, 7, 8, 9)}
    assert told_of(client) == others | {("erase", "shopper 1"), ("erase", "shopper 2")}
    scrubber.stop()


def test_an_interrupted_or_failed_pass_is_due_until_it_is_complete(
    client: Store, redis_url: str
) -> None:
    tell(client, ENTRIES + 1, "erase", "shopper 1")
    ended = Scrubber(lambda: Store(redis_url, timeout_ms=2000, patience_s=2), 7)
    ended._stop.set()
    ended.request_pass()
    ended.stop()
    assert not ended.is_clean
    urls = iter(["unix:///nowhere/redis.sock", redis_url])
    scrubber = Scrubber(lambda: Store(next(urls), timeout_ms=200, patience_s=0), 7)
    scrubber.request_pass()
    until(lambda: scrubber._thread is None)
    assert not scrubber.is_clean
    assert ("enter", "shopper 1") in told_of(client)
    scrubber.start_if_due()
    until(lambda: scrubber.is_clean)
    assert ("enter", "shopper 1") not in told_of(client)
