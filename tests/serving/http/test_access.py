"""Who may ask what: keys, origins, visitors that are signed, limits, and the words of refusals."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING

import pytest

from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE, StorefrontAccess
from serving.http.errors import RequestError
from serving.http.rates import BURST_S, RequestRates
from serving.storefront.app import COLLECTED, ROUTES
from serving.storefront.content import ContentTable
from serving.storefront.openapi import document
from state import keys
from state.errors import ConfigurationError
from state.store import Store
from tests.serving.storefront.servers import Door, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY, SECRET = "pk-public", "a-secret-of-at-least-24-characters"
AS_PAGE, AS_SHOP = {"X-Penstock-Key": KEY}, {"Authorization": f"Bearer {SECRET}"}
ORIGIN = "https://shop.example"
NOW_S = 1_800_000_000


def access(now_s: float = NOW_S, *, key: str = KEY, secret: str = SECRET) -> StorefrontAccess:
    variables = {KEY_VARIABLE: key, SECRET_VARIABLE: secret}
    return StorefrontAccess(
        "0.0.0.0", (ORIGIN,), visitor_days=396, clock_s=lambda: now_s, environment=variables
    )


@pytest.fixture
def door(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    for name in ("ann", "bob"):
        own = {"at": 1, "source": "blend", "items": [[f"of-{name}", 0.5, "popular"]]}
        client.set(keys.top_key(name, "home"), json.dumps(own))
        client.hset(keys.profile_key(name), mapping={"stage": "new", "revenue": "9.00"})
    with open_door(redis_url, origins=(ORIGIN,)) as door:
        yield door


def own_item(door: Door, query: str, **headers: str) -> str | None:
    items = door.get(f"/v1/lists/home?{query}", **headers).json()["items"]
    return items[0]["id"] if items else None


def test_the_secret_key_names_any_shopper(door: Door) -> None:
    assert own_item(door, "shopper=ann", **AS_SHOP) == "of-ann"


def test_a_page_names_its_own_visitor_only(door: Door) -> None:
    assert own_item(
        door, "", **AS_PAGE, Cookie=f"penstock_visitor={access().cookie_of('ann')}"
    ) == ("of-ann")
    assert own_item(door, f"visitor=ann&sig={access().sign('ann')}", **AS_PAGE) == "of-ann"
    for query in ("visitor=ann", f"visitor=ann&sig={access().sign('bob')}", "shopper=ann"):
        refused = door.get(f"/v1/lists/home?{query}", **AS_PAGE)
        assert refused.status == 403, query
        assert "of-ann" not in refused.body.decode()


@pytest.mark.parametrize(
    "cookie",
    [
        "ann",
        "ann~",
        f"ann~{access().sign('bob')}",
        f"ann~{access(now_s=1).sign('ann')}",
        f"ann~{NOW_S * 10}.{access().sign('ann').partition('.')[2]}",
        f"ann~{'9' * 40}.x",
    ],
)
def test_a_forged_or_expired_cookie_is_nobody(cookie: str) -> None:
    assert access().visitor_of(cookie) == ""


def test_a_cookie_is_its_visitor_until_it_expires() -> None:
    cookie = access().cookie_of("né~1")
    assert access().visitor_of(access().cookie_of("ann")) == "ann"
    assert access(NOW_S + access().cookie_age_s + 1).visitor_of(cookie) == ""
    assert access().new_visitor() != access().new_visitor()


def test_keys_and_origins_are_checked(door: Door) -> None:
    path = "/v1/lists/home"
    statuses = {
        "none": door.get(path).status,
        "wrong": door.get(path, **{"X-Penstock-Key": "pk-other"}).status,
        "right": door.get(path, **AS_PAGE).status,
        "in the query": door.get(f"{path}?key={KEY}").status,
        "secret in the query": door.get(f"{path}?key={SECRET}").status,
        "known origin": door.get(path, **AS_PAGE, Origin=ORIGIN).status,
        "own origin": door.get(path, **AS_PAGE, Origin=door.url).status,
        "other origin": door.get(path, **AS_PAGE, Origin="https://evil.example").status,
    }
    assert statuses == {
        "none": 401,
        "wrong": 401,
        "right": 200,
        "in the query": 200,
        "secret in the query": 401,
        "known origin": 200,
        "own origin": 200,
        "other origin": 403,
    }


@pytest.mark.parametrize(
    "header", ["content-type", "x-penstock-key", "authorization,x-retry-count"]
)
def test_a_browser_of_a_known_origin_may_send_and_read(door: Door, header: str) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": header,
    }
    preflight = door.send("OPTIONS", "/v1/events", None, asked)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
    other = door.send("OPTIONS", "/v1/events", None, asked | {"Origin": "https://evil.example"})
    assert (other.status, "access-control-allow-origin" in other.headers) == (400, False)


def test_a_cdn_keeps_no_answer_for_another_origin(door: Door) -> None:
    """Also an answer to who named no origin varies by it: a browser could not read that one."""
    for path in ("/v1/lists/home?audience=all", "/v1/lists/home", "/v1/snippet.js"):
        for headers in ({}, {"Origin": ORIGIN}):
            vary = door.get(path, **AS_PAGE, **headers).headers["vary"]
            assert "Origin" in vary, (path, headers)


def test_a_page_sees_the_configured_fields_of_its_visitor(door: Door) -> None:
    cookie = f"penstock_visitor={access().cookie_of('ann')}"
    answer = door.get("/v1/shopper", **AS_PAGE, Cookie=cookie).json()
    assert answer == {"segments": {}, "profile": {"stage": "new"}, "degraded": False}


def test_metrics_are_for_the_shop_alone(door: Door) -> None:
    assert door.get("/metrics", **AS_PAGE).status == 403
    text = door.get("/metrics", **AS_SHOP).body.decode()
    assert 'penstock_storefront_requests_total{route="/metrics",status="403"} 1.0' in text


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("/v1/lists/nothing", 404, ("$.slot", "no such slot")),
        ("/v1/lists/home?n=0", 400, ("$.n", "Expected `int` >= 1")),
        ("/v1/lists/home?n=many", 400, ("$.n", "expected a number")),
        ("/v1/lists/home?price_max=nan", 400, ("$.price_max", "Expected `float` > 0")),
        ("/v1/lists/home?n=1&n=2", 400, ("$.n", "given twice")),
        ("/v1/lists/home?colour=red", 400, ("$", "Object contains unknown field `colour`")),
        ("/v1/lists/cart?cart=" + ",".join(["x"] * 101), 400, ("$.cart", "Expected `array`")),
        ("/v1/lists/product?item=" + "x" * 200, 400, ("$.item", "Expected `str`")),
        (
            "/v1/lists/home?visitor=undefined",
            400,
            ("$.visitor", "'undefined' identifies no shopper"),
        ),
        ("/v1/shopper?shopper=%20null", 400, ("$.shopper", "' null' identifies no shopper")),
        ("/v1/content/hero", 404, ("$.slot", "no such content slot")),
        ("/v2/lists", 404, ("$", "no such route")),
    ],
)
def test_wrong_requests_name_the_field(
    door: Door, path: str, status: int, problem: tuple[str, str]
) -> None:
    answer = door.get(path, **AS_SHOP)
    (error,) = answer.json()["errors"]
    assert (answer.status, error["path"]) == (status, problem[0])
    assert error["message"].startswith(problem[1])


def test_another_method_is_told_which_there_are(door: Door) -> None:
    answer = door.send("DELETE", "/v1/lists/home", None, AS_SHOP)
    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[]", 400, "Expected `object`"),
        (b'{"slots":[]}', 400, "Expected `array`"),
        (json.dumps({"slots": [{"slot": "home"}] * 9}).encode(), 400, "Expected `array`"),
        (b'{"slots":' + b"[" * 5000, 400, ""),
        (b" " * 70_000, 413, "more than 65536 bytes"),
    ],
)
def test_wrong_bodies_are_refused(door: Door, body: bytes, status: int, message: str) -> None:
    answer = door.post("/v1/lists", body, **AS_SHOP)
    assert answer.status == status
    assert answer.json()["errors"][0]["message"].startswith(message)
    assert door.get("/healthz").status == 200


def test_half_a_request_keeps_nobody_waiting(door: Door) -> None:
    host, port = door.host.split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /v1/lists HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert door.get("/healthz").status == 200


def test_an_address_that_floods_is_told_when_to_come_back() -> None:
    now_s = 0.0
    rates = RequestRates(10, lambda: now_s)
    for _ in range(10 * BURST_S + 1):
        rates.count("publishable", "192.0.2.1")
    with pytest.raises(RequestError) as refused:
        rates.count("publishable", "192.0.2.1")
    assert (refused.value.status, refused.value.headers) == (429, {"retry-after": "1"})
    rates.count("publishable", "192.0.2.2")
    now_s = 1.0
    rates.count("publishable", "192.0.2.1")


def test_without_keys_only_this_machine_may_ask(redis_url: str) -> None:
    with pytest.raises(ConfigurationError, match="open to others: set PENSTOCK_STOREFRONT_KEY"):
        access(key="", secret="")
    with open_door(redis_url) as door:
        assert door.get("/v1/lists/home").status == 200
        assert door.get("/v1/lists/home", Host="rebound.example").status == 421


@pytest.mark.parametrize("secret", ["", "short", KEY])
def test_a_missing_or_short_secret_is_refused(secret: str) -> None:
    with pytest.raises(ConfigurationError, match=SECRET_VARIABLE):
        access(secret=secret)


def test_content_is_the_first_whose_segment_holds(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "content.yaml"
    file.write_text(
        "hero:\n- {id: back, segment: rfm-loyal, payload: {image: /a.jpg}}\n- {id: summer, payload: 1}\n"
    )
    client = Store(redis_url, timeout_ms=2000, patience_s=0).client
    for name in ("ann", "cat"):
        client.hset(keys.segments_key(name), "rfm-loyal", 5)
    client.hset(keys.profile_key("cat"), mapping={"refused": "personalization", "views": 3})
    with open_door(redis_url, content_file=str(file)) as door:
        refuses = door.get("/v1/content/hero?shopper=cat").json()
        known = door.get("/v1/shopper?shopper=cat").json()
        loyal = door.get("/v1/content/hero?shopper=ann").json()
        other = door.get("/v1/content/hero?shopper=bob").json()
    assert loyal == {
        "slot": "hero",
        "id": "back",
        "payload": {"image": "/a.jpg"},
        "why": "rfm-loyal",
    }
    assert other == refuses == {"slot": "hero", "id": "summer", "payload": 1, "why": ""}
    assert (known["segments"], known["profile"]) == ({}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hero: [{id: a, payload: 1}, {id: b, payload: 1}]", "a has no segment"),
        ("hero: [{id: a}]", "missing required field `payload`"),
        ("hero: [", "cannot be read"),
        ("hero: [{id: a, payload: 1, colour: 2}]", "unknown field `colour`"),
    ],
)
def test_a_wrong_content_file_is_refused_at_the_start(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "content.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        ContentTable(str(file))


def test_the_openapi_document_has_every_route_and_no_other(door: Door) -> None:
    described = {(way.upper(), path) for path, ways in document()["paths"].items() for way in ways}
    assert described == {(method, path) for method, path, _ in (*ROUTES, *COLLECTED)}
    assert door.get("/openapi.json").json() == json.loads(json.dumps(document()))


def test_every_route_answers_only_its_method(door: Door) -> None:
    answer = door.send("DELETE", "/v1/lists", None, AS_SHOP)
    assert (answer.status, http.client.responses[answer.status]) == (405, "Method Not Allowed")
