"""The collector: what comes in over HTTP is in the log as sent, once acknowledged it is not lost."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from serving.collector.event_log import RECORD_BYTES_MAX
from serving.collector.redis_log import RedisEventLog
from serving.collector.spool import Spool
from serving.http.access import COOKIE, KEY_VARIABLE, SECRET_VARIABLE
from state import keys
from state.store import AsyncAppender, Store
from tests.serving.storefront.servers import Answer, Door, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY, SECRET = "pk-public", "a-secret-of-at-least-24-characters"
AS_PAGE, AS_SHOP = {"X-Penstock-Key": KEY}, {"Authorization": f"Bearer {SECRET}"}
PARTITIONS = 3
PATIENCE_S = 30

TWO_LINES = gzip.compress(
    b"".join(
        b'{"event_id":"%d","type":"page_view","event_ts":1,"anonymous_id":"a"}\n' % number
        for number in range(2)
    )
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def event(number: object, **fields: Any) -> dict[str, Any]:
    at_ms = now_ms()
    return {"event_id": f"e-{number}", "type": "page_view", "event_ts": at_ms, **fields}


def log_of(url: str) -> RedisEventLog:
    return RedisEventLog(AsyncAppender(url, timeout_ms=5000), PARTITIONS)


def stored(url: str) -> list[dict[str, Any]]:
    client = Store(url, timeout_ms=5000, patience_s=0).client
    return [
        json.loads(fields[b"e"])
        for partition in range(PARTITIONS)
        for _, fields in client.xrange(keys.events_key(partition))
    ]


def stored_ids(url: str) -> list[str]:
    return sorted(one["event_id"] for one in stored(url))


def wait_until(condition: Any) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.fixture
def door(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    with open_door(redis_url, log_of(redis_url), origins=("https://shop.example",)) as door:
        yield door


def cookie_of(answer: Answer) -> str:
    return answer.headers.get("set-cookie", "").partition(";")[0]


def test_an_event_is_in_the_log_as_sent_with_the_servers_time(door: Door, redis_url: str) -> None:
    item = {"item_id": "mug", "price": 3.5}
    sent = event(1, type="item_view", anonymous_id="anna", items=[item], device="mobile")
    before_ms = now_ms()
    answer = door.post("/v1/events", sent | {"received_ts": before_ms - 60_000}, **AS_PAGE)
    assert (answer.status, answer.json()) == (202, {"accepted": 1, "rejected": []})
    (found,) = stored(redis_url)
    assert before_ms <= found.pop("received_ts") <= now_ms()
    assert found == sent


@pytest.mark.parametrize("form", ["array", "lines"])
def test_a_bad_event_spoils_no_other(door: Door, redis_url: str, form: str) -> None:
    events = [
        event(1, anonymous_id="a"),
        event(2, anonymous_id="a", type="dance"),
        event(3, anonymous_id="a"),
        "not an event",
        event(4),
    ]
    if form == "array":
        body = json.dumps(events).encode()
    else:
        body = b"\n".join(json.dumps(one).encode() for one in events)
    answer = door.post("/v1/events", body, **AS_SHOP)
    assert (answer.status, answer.json()["accepted"]) == (202, 2)
    assert [(one["index"], one["failure_type"]) for one in answer.json()["rejected"]] == [
        (1, "unknown_type"),
        (3, "schema_violation"),
        (4, "no_identity"),
    ]
    assert answer.json()["rejected"][0]["errors"][0]["path"] == "$.type"
    assert stored_ids(redis_url) == ["e-1", "e-3"]


def test_events_of_one_shopper_stay_in_order_in_one_stream(door: Door, redis_url: str) -> None:
    for number in range(30):
        door.post("/v1/events", event(number, anonymous_id=f"v-{number % 3}"), **AS_SHOP)
    for visitor in ("v-0", "v-1", "v-2"):
        found = [one["event_id"] for one in stored(redis_url) if one["anonymous_id"] == visitor]
        assert found == [f"e-{n}" for n in range(30) if f"v-{n % 3}" == visitor]


def test_a_page_without_ids_is_recognised_by_its_cookie(door: Door, redis_url: str) -> None:
    first = door.post("/v1/events", event(1), **AS_PAGE)
    cookie = cookie_of(first)
    assert cookie.startswith(COOKIE + "=")
    flags = first.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    second = door.post("/v1/events", event(2), **AS_PAGE, Cookie=cookie)
    assert cookie_of(second) == ""
    visitors = {one["anonymous_id"] for one in stored(redis_url)}
    assert visitors == {cookie.partition("=")[2].partition("~")[0].strip('"')}


def test_no_cookie_without_need_or_against_consent(door: Door) -> None:
    own_id = door.post("/v1/events", event(1, anonymous_id="anna"), **AS_PAGE)
    refused = door.post("/v1/events", event(2, consent={"analytics": False}), **AS_PAGE)
    by_shop = door.post("/v1/events", event(3, user_id="u"), **AS_SHOP)
    assert [cookie_of(one) for one in (own_id, refused, by_shop)] == ["", "", ""]


def test_global_privacy_control_refuses_ads(door: Door, redis_url: str) -> None:
    door.post("/v1/events", event(1, anonymous_id="a"), **AS_PAGE, **{"Sec-GPC": "1"})
    agreed = event(2, anonymous_id="a", consent={"ads": True})
    door.post("/v1/events", agreed, **AS_PAGE, **{"Sec-GPC": "1"})
    assert [one["consent"] for one in stored(redis_url)] == [{"ads": False}, {"ads": True}]


@pytest.mark.parametrize("event_type", ["erase", "item"])
def test_a_page_may_not_erase_others_or_change_the_catalogue(
    door: Door, redis_url: str, event_type: str
) -> None:
    sent = event(1, type=event_type, user_id="u", items=[{"item_id": "x"}])
    answer = door.post("/v1/events", sent, **AS_PAGE).json()
    assert answer["rejected"][0]["errors"] == [
        {"path": "$.type", "message": f"{event_type} needs the secret key"}
    ]
    assert door.post("/v1/events", sent, **AS_SHOP).json()["accepted"] == 1
    assert stored_ids(redis_url) == ["e-1"]


def test_segments_libraries_work_with_another_host(door: Door, redis_url: str) -> None:
    track = {
        "type": "track",
        "event": "Product Viewed",
        "messageId": "m-1",
        "anonymousId": "anna",
        "timestamp": "2026-11-20T10:00:00Z",
        "properties": {"product_id": "mug", "price": 3},
    }
    basic = {"Authorization": "Basic cGstcHVibGljOg=="}
    batch = door.post("/v1/batch", {"batch": [track], "sentAt": "2026-11-20T10:00:01Z"}, **basic)
    page = {"messageId": "m-2", "anonymousId": "anna", "writeKey": KEY, "name": "Home"}
    short = door.post("/v1/p", page, **{"Content-Type": "text/plain"})
    assert [(one.status, one.json()["accepted"]) for one in (batch, short)] == [(200, 1), (200, 1)]
    found = {one["event_id"]: one for one in stored(redis_url)}
    assert found["m-1"]["type"] == "item_view"
    assert found["m-1"]["items"] == [{"item_id": "mug", "price": 3.0}]
    assert found["m-2"]["type"] == "page_view"
    assert door.post("/v1/t", page | {"writeKey": "other"}).status == 401


def test_calls_of_a_segment_batch_without_ids_are_the_visitors_unless_they_refuse(
    door: Door, redis_url: str
) -> None:
    def page(number: int, **more: Any) -> dict[str, Any]:
        return {"type": "page", "messageId": f"m-{number}", "name": "Home", **more}

    refuses = {"consent": {"categoryPreferences": {"Analytics": False}}}
    only_refused = door.post("/v1/batch", {"batch": [page(1, context=refuses)]}, **AS_PAGE)
    assert (only_refused.json()["accepted"], cookie_of(only_refused)) == (0, "")
    calls = [page(2), page(3, context=refuses), page(4, anonymousId="anna")]
    answer = door.post("/v1/batch", {"batch": calls}, **AS_PAGE)
    visitor = cookie_of(answer).partition("=")[2].partition("~")[0].strip('"')
    assert visitor
    found = [(one["event_id"], one["anonymous_id"]) for one in stored(redis_url)]
    assert sorted(found) == [("m-2", visitor), ("m-4", "anna")]


def test_measurements_of_google_analytics_are_accepted(door: Door, redis_url: str) -> None:
    body = {
        "client_id": "555.1",
        "timestamp_micros": str(now_ms() * 1000),
        "events": [{"name": "view_item", "params": {"items": [{"item_id": "mug"}]}}],
    }
    assert door.post("/v1/events?format=ga4", body, **AS_SHOP).json()["accepted"] == 1
    (found,) = stored(redis_url)
    assert (found["type"], found["anonymous_id"]) == ("item_view", "555.1")


def test_an_event_that_no_log_may_take_is_rejected_alone(door: Door, redis_url: str) -> None:
    events = [event(1, anonymous_id="a"), event(2, anonymous_id="a", query="x" * 990_000)]
    answer = door.post("/v1/events", events, **AS_SHOP)
    assert answer.status == 202
    error = {"path": "$", "message": f"at most {RECORD_BYTES_MAX} bytes"}
    rejected = [{"index": 1, "failure_type": "too_large", "errors": [error]}]
    assert answer.json() == {"accepted": 1, "rejected": rejected}
    assert stored_ids(redis_url) == ["e-1"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/events", b"", {}, 400),
        ("/v1/events", b"[", {}, 400),
        ("/v1/events?format=xml", b"{}", {}, 400),
        ("/v1/events", b"[" + b"{}," * 1500 + b"{}]", {}, 413),
        ("/v1/events", b"x" * (1024 * 1024 + 1), {}, 413),
        ("/v1/events", gzip.compress(b"x" * 5_000_000), {"Content-Encoding": "gzip"}, 413),
        ("/v1/events", b"no gzip", {"Content-Encoding": "gzip"}, 400),
        ("/v1/events", TWO_LINES[: len(TWO_LINES) // 2], {"Content-Encoding": "gzip"}, 400),
        ("/v1/events", TWO_LINES[:-1], {"Content-Encoding": "gzip"}, 400),
        ("/v1/events", b"{}", {"Content-Encoding": "br"}, 415),
        ("/v1/events", b"[" * 100_000, {}, 400),
    ],
    ids=[
        "empty",
        "cut",
        "form",
        "many",
        "long",
        "bomb",
        "no gzip",
        "half",
        "a byte short",
        "br",
        "deep",
    ],
)
def test_bodies_that_cannot_be_read_are_refused(
    door: Door, redis_url: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = door.post(path, body, **AS_SHOP, **headers)
    assert (answer.status, stored(redis_url)) == (status, [])
    assert answer.json()["errors"]


def test_a_compressed_body_is_read(door: Door, redis_url: str) -> None:
    body = gzip.compress(json.dumps(event(1, anonymous_id="a")).encode())
    answer = door.post("/v1/events", body, **AS_SHOP, **{"Content-Encoding": "gzip"})
    assert answer.json()["accepted"] == 1
    assert stored_ids(redis_url) == ["e-1"]


def test_a_body_compressed_in_parts_is_read_whole(door: Door, redis_url: str) -> None:
    lines = [json.dumps(event(number, anonymous_id="a")).encode() + b"\n" for number in (1, 2)]
    body = b"".join(map(gzip.compress, lines))
    answer = door.post("/v1/events", body, **AS_SHOP, **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.json()["accepted"]) == (202, 2)
    assert sorted(stored_ids(redis_url)) == ["e-1", "e-2"]


@pytest.mark.parametrize("path", ["/v1/group", "/v1/g"])
def test_a_group_call_counts_as_an_event_of_the_shops_own(
    door: Door, redis_url: str, path: str
) -> None:
    call = {"messageId": "m-1", "anonymousId": "a", "groupId": "g-1"}
    assert door.post(path, call, **AS_SHOP).json() == {"accepted": 1, "rejected": []}
    assert stored_ids(redis_url) == ["m-1"]


def test_while_the_log_is_away_events_are_kept_on_disk_and_sent_when_it_is_back(
    tmp_path: Path,
) -> None:
    with EmbeddedRedis() as redis, open_door(redis.url, log_of(redis.url), tmp_path) as door:
        sent = [event(number, anonymous_id=f"v-{number}") for number in range(20)]
        for number, one in enumerate(sent):
            if number == 5:
                redis.stop()
            assert door.post("/v1/events", one).status == 202
        assert Spool(tmp_path, 1).byte_count > 0
        redis.start()
        expected = sorted(
            one["event_id"] for one in sent[5:]
        )  # the first five went with the server
        wait_until(lambda: stored_ids(redis.url) == expected)
        wait_until(lambda: not list(tmp_path.glob("*.spool")))
        assert door.post("/v1/events", event("last", anonymous_id="a")).status == 202
        wait_until(lambda: "e-last" in stored_ids(redis.url))


def test_line_ends_inside_of_an_event_survive_an_outage(tmp_path: Path) -> None:
    with EmbeddedRedis() as redis, open_door(redis.url, log_of(redis.url), tmp_path) as door:
        redis.stop()
        body = json.dumps(event(1, anonymous_id="a", props={"note": "a\n", "b": [1]}), indent=1)
        assert door.post("/v1/events", body.replace("\n", "\r\n").encode()).status == 202
        redis.start()
        wait_until(lambda: stored_ids(redis.url) == ["e-1"])
        assert stored(redis.url)[0]["props"] == {"note": "a\n", "b": [1]}


def test_without_room_anywhere_the_sender_keeps_the_event() -> None:
    with EmbeddedRedis() as redis, open_door(redis.url, log_of(redis.url)) as door:
        redis.stop()
        refused = door.post("/v1/events", event(1, anonymous_id="a"))
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        redis.start()
        wait_until(lambda: door.post("/v1/events", event(1, anonymous_id="a")).status == 202)
        assert stored_ids(redis.url) == ["e-1"]
