"""One reader for all tabs: each gets a snapshot and every change; a slow tab delays no other."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from serving.dashboard.document import Document, ViewResult
from serving.dashboard.hub import QUEUED_MAX, TICK_S, PageHub
from serving.dashboard.shop import CHANGES_FIRST, ShopView
from state import keys
from state.errors import StoreError
from state.store import AsyncReader, Store
from tests.pages import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TAIL_MAX = 5

values = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3))
readings = st.builds(
    ViewResult,
    values,
    st.dictionaries(st.sampled_from(["tail"]), st.lists(st.integers(), max_size=8)),
    st.none(),
    st.booleans(),
)


class Client:
    """What a page makes of frames, as `stream.js` does."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.tails: dict[str, list[Any]] = {}
        self.trouble = ""

    def take(self, raw: bytes) -> None:
        frame = orjson.loads(raw)
        if frame.get("whole"):
            self.values, self.tails = {}, {}
        for name in frame.get("gone", []):
            del self.values[name]
        self.values |= frame.get("set", {})
        for name, entries in frame.get("add", {}).items():
            self.tails[name] = [*self.tails.get(name, []), *entries][-TAIL_MAX:]
        self.trouble = frame["trouble"]


@given(st.lists(readings, max_size=8))
def test_changes_applied_in_order_equal_a_snapshot(results: list[ViewResult]) -> None:
    document, follower = Document("shop", TAIL_MAX), Client()
    follower.take(document.snapshot())
    for result in results:
        change = document.update(result)
        if result.is_reset:
            follower.take(document.snapshot())
        elif change is not None:
            follower.take(change)
        newcomer = Client()
        newcomer.take(document.snapshot())
        assert vars(newcomer) == vars(follower)
        assert follower.values == result.values


class Counting:
    """A view with a number that grows; raises while `is_away`."""

    def __init__(self) -> None:
        self.reads = 0
        self.is_away = False

    async def read(self) -> ViewResult:
        self.reads += 1
        if self.is_away:
            raise StoreError("Redis does not answer: start it")
        return ViewResult({"n": self.reads}, {})


async def frames(messages: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    message = b""
    while not message.startswith(b"data: "):
        message = await anext(messages)
    found: list[dict[str, Any]] = orjson.loads(message[6:])
    return found


def test_fifty_tabs_need_as_many_reads_as_one() -> None:
    async def run(tabs: int) -> int:
        reader = Counting()
        hub = PageHub(reader)
        async with hub.running(), AsyncExitStack() as opened:
            for _ in range(tabs):
                tab = await opened.enter_async_context(hub.subscribe())
                assert (await frames(tab.messages()))[0]["whole"]
            await asyncio.sleep(5 * TICK_S)
            return reader.reads

    one, fifty = in_loop(run(1)), in_loop(run(50))
    assert abs(one - fifty) <= 2
    assert one <= 1 + 5 + 1


def test_a_slow_tab_delays_no_other_and_then_gets_a_snapshot() -> None:
    async def run() -> None:
        reader = Counting()
        hub = PageHub(reader)
        async with hub.running(), hub.subscribe() as slow, hub.subscribe() as quick:
            slow_messages, quick_messages = slow.messages(), quick.messages()
            assert (await frames(slow_messages))[0]["whole"]
            for _ in range(QUEUED_MAX + 3):
                received = await frames(quick_messages)
            (late,) = await frames(slow_messages)
            assert late["whole"]
            assert late["set"] == {"n": reader.reads}
            assert received[0]["set"]["n"] >= QUEUED_MAX

    in_loop(run())


def test_nothing_is_read_without_tabs_and_a_channel_closes_with_its_last_tab() -> None:
    async def run() -> None:
        shop, segment = Counting(), Counting()
        hub = PageHub(shop)
        async with hub.running():
            async with (
                hub.subscribe("segment a", lambda: segment),
                hub.subscribe("segment a", lambda: segment) as tab,
            ):
                messages = await frames(tab.messages())
                assert {frame["room"] for frame in messages} == {"shop", "segment a"}
            await asyncio.sleep(2 * TICK_S)
            reads = shop.reads, segment.reads
            await asyncio.sleep(3 * TICK_S)
            assert (shop.reads, segment.reads) == reads

    in_loop(run())


def test_an_error_is_sent_and_so_is_its_end() -> None:
    async def run() -> None:
        reader = Counting()
        hub = PageHub(reader)
        async with hub.running(), hub.subscribe() as tab:
            messages = tab.messages()
            page = Client()
            reader.is_away = True
            while not page.trouble:
                for frame in await frames(messages):
                    page.take(orjson.dumps(frame))
            assert page.trouble == "Redis does not answer: start it"
            assert "n" in page.values, "the last values stay"
            reader.is_away = False
            while page.trouble:
                for frame in await frames(messages):
                    page.take(orjson.dumps(frame))

    in_loop(run())


def test_a_page_opened_after_an_hour_shows_only_new_entries(
    redis_url: str,
) -> None:
    """And does not take what it had not seen for what was written now."""
    store, key = Store(redis_url, timeout_ms=2000, patience_s=2), keys.change_stream_key(0)
    now_s = 1000.0

    def wrote(first: int, count: int) -> None:
        for n in range(first, first + count):
            said = {"kind": "enter", "shopper": f"s{n}", "segment": "x", "event_ts": n}
            store.client.xadd(key, said, f"{n}-0")
        store.client.hset(keys.meta_key(), "events", first + count)

    async def run() -> None:
        nonlocal now_s
        reads = AsyncReader(redis_url, timeout_ms=2000)
        shop = ShopView(reads, lambda: now_s)
        wrote(1, 3)
        first = await shop.read()
        assert [change.shopper for change in first.added["changes"]] == ["s1", "s2", "s3"]
        now_s += 1.0
        wrote(4, 1)
        second = await shop.read()
        assert (second.is_reset, second.idle_ms) == (False, 0)
        assert [change.shopper for change in second.added["changes"]] == ["s4"]
        now_s += 3600.0
        wrote(5, 200)
        later = await shop.read()
        assert (later.is_reset, later.idle_ms) == (True, None)
        shown = [change.shopper for change in later.added["changes"]]
        assert shown == [f"s{n}" for n in range(205 - CHANGES_FIRST, 205)]
        assert later.values["now"]["events_per_s"] is None
        await reads.close()

    in_loop(run())
    store.close()
