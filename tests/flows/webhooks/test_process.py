"""Webhooks to a real endpoint: every change arrives, whatever fails, signed and in order."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows.commands.cli import main, parser
from flows.process.embedded_redis import EmbeddedRedis
from flows.webhooks.process import redeliver_dead
from state import keys
from state.changes import Change
from state.config_deployment import Endpoint
from state.segments import SegmentDefinition, definition_writes
from state.shopper import ADS, PERSONALIZATION
from tests.hooks_runs import (
    DRIP,
    HANG,
    HANG_UP,
    SECRET,
    Endpointer,
    Request,
    Shop,
    endpoint,
    openssl_says,
    process,
    settings,
    telling,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_HOOKS_SECRET", SECRET)


@pytest.fixture
def there() -> Iterator[Endpointer]:
    with endpoint() as one:
        yield one


@pytest.fixture
def shop(redis_url: str) -> Shop:
    return Shop(redis_url)


def dead(shop: Shop, name: str = "a") -> list[dict[bytes, bytes]]:
    return [fields for _, fields in shop.store.client.xrange(keys.dead_hooks_key(name))]


def pending(shop: Shop, name: str = "a") -> int:
    """Changes that were delivered to the group and are not acknowledged."""
    groups = [shop.store.client.xinfo_groups(keys.change_stream_key(n)) for n in range(8)]
    return sum(g["pending"] for all_ in groups for g in all_ if g["name"].endswith(name.encode()))


def assert_in_order(requests: list[Request]) -> None:
    """Of each shopper, what was taken first is what happened first, each change once or again."""
    seen: dict[str, list[str]] = defaultdict(list)
    for one in requests:
        if one.id not in seen[one.json["userId"]]:
            seen[one.json["userId"]].append(one.id)
    times = {one.id: one.json["timestamp"] for one in requests}
    for ids in seen.values():
        assert [times[one] for one in ids] == sorted(times[one] for one in ids)


def test_a_change_is_sent_in_the_format_of_segment(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    shop.store.send(
        definition_writes([SegmentDefinition("vip", "rule", "VIPs", "", "spent a lot")])
    )
    at_ms = 1_767_225_600_007
    ids = shop.tells(
        Change("enter", "ann", "vip", at_ms, known=True),
        Change("leave", "ann", "vip", at_ms + 1, known=True),
        Change("merge", "device-1", "ann", at_ms + 2),
        Change("erase", "device-2", "", at_ms + 3),
        Change("trigger", "ann", "price-drop", at_ms + 4, known=True, item="mug"),
    )
    with telling(settings(there), redis_url):
        there.until_taken(ids)
    entered, left, merged, erased, dropped = [
        next(one.json for one in there.taken if one.id == wanted) for wanted in ids
    ]
    library = {"name": "penstock", "version": keys.WRITER_VERSION}
    personas = {
        "computation_class": "audience",
        "computation_id": "vip",
        "computation_key": "vip",
    }
    assert entered == {
        "type": "track",
        "event": "Audience Entered",
        "userId": "ann",
        "messageId": ids[0],
        "timestamp": "2026-01-01T00:00:00.007Z",
        "context": {"library": library, "personas": personas},
        "properties": {
            "audience_key": "vip",
            "audience_name": "VIPs",
            "version": 1,
            "vip": True,
        },
    }
    assert left == entered | {
        "event": "Audience Exited",
        "messageId": ids[1],
        "timestamp": "2026-01-01T00:00:00.008Z",
        "properties": entered["properties"] | {"vip": False},
    }
    assert merged == {
        "type": "alias",
        "previousId": "device-1",
        "userId": "ann",
        "messageId": ids[2],
        "timestamp": "2026-01-01T00:00:00.009Z",
        "context": {"library": library},
    }
    assert (erased["event"], erased["anonymousId"]) == ("Shopper Erased", "device-2")
    assert (dropped["event"], dropped["userId"]) == ("Price Dropped", "ann")
    assert dropped["properties"] == {"trigger": "price-drop", "product_id": "mug"}
    assert pending(shop) == 0


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_the_signature_equals_that_of_openssl(
    there: Endpointer, shop: Shop, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    monkeypatch.setenv("PENSTOCK_HOOKS_A_SECRET", f"{SECRET} {newer}")
    ids = shop.moves(3)
    began_s = int(time.time())
    with telling(settings(there), redis_url):
        there.until_taken(ids)
    for one in there.taken:
        signatures = [openssl_says(one, SECRET), openssl_says(one, newer)]
        assert one.headers["webhook-signature"].split(" ") == signatures
        assert began_s <= int(one.headers["webhook-timestamp"]) <= time.time()
        assert one.json["messageId"] == one.id
        assert one.headers["content-type"] == "application/json"


def test_every_change_arrives_at_an_endpoint_that_fails_in_all_ways(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    """A third of the requests fails, in turn in each way; of each shopper the order stays."""
    ways: list[int | str] = [500, 429, HANG_UP, 503, 404, DRIP, HANG]
    asked = Counter[str]()

    def answer(request: Request) -> int | str:
        asked["all"] += 1
        return ways[asked["all"] // 3 % len(ways)] if asked["all"] % 3 == 0 else 204

    there.answer = answer
    ids = shop.moves(150)
    with telling(settings(there), redis_url):
        there.until_taken(ids)
        until(lambda: pending(shop) == 0)
    assert sorted({one.id for one in there.taken}) == sorted(ids)
    assert len({(one.id, one.body) for one in there.requests}) == len(ids)
    assert_in_order(there.taken)
    assert dead(shop) == []


def test_an_endpoint_that_restarts_misses_nothing_and_delays_no_other(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    with endpoint() as other, telling(settings(there, other), redis_url):
        there.until_taken(shop.moves(40))
        there.stop()
        ids = shop.moves(40)
        other.until_taken(ids)
        assert not {one.id for one in there.taken} & set(ids)
        there.start()
        there.until_taken(ids)
    assert_in_order(there.taken)


def test_a_refused_change_is_a_dead_letter_and_the_next_is_delivered(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    ids = shop.moves(3, shoppers=1)
    there.answer = lambda request: 400 if request.id == ids[1] else 204
    chosen = settings(there)
    with telling(chosen, redis_url):
        there.until_taken([ids[0], ids[2]])
        until(lambda: len(dead(shop)) == 1 and pending(shop) == 0)
    (letter,) = dead(shop)
    assert letter[b"id"] == ids[1].encode()
    assert letter[b"reason"] == b"answered 400 Bad Request"
    assert len(there.requests) == 3
    # A redelivery that is refused again stays a dead letter; an accepted one is deleted.
    stop: Any = type("Never", (), {"is_set": lambda self: False})()
    assert redeliver_dead(chosen, redis_url, stop, ["a"]) == (0, 1)
    assert len(dead(shop)) == 1
    there.answer = lambda _: 204
    assert redeliver_dead(chosen, redis_url, stop, ["a"]) == (1, 0)
    assert dead(shop) == []
    assert there.taken[-1].id == ids[1]
    assert there.taken[-1].body == letter[b"body"]


def test_a_change_that_fails_too_often_is_a_dead_letter(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    ids = shop.moves(2, shoppers=2)
    there.answer = lambda request: 500 if request.id == ids[0] else 204
    with telling(settings(there, tries=3), redis_url):
        until(lambda: len(dead(shop)) == 1)
    assert Counter(one.id for one in there.requests) == {ids[0]: 3, ids[1]: 1}
    assert dead(shop)[0][b"tries"] == b"3"


def test_a_requested_pause_is_kept(there: Endpointer, shop: Shop, redis_url: str) -> None:
    times: list[float] = []

    def answer(_: Request) -> int:
        times.append(time.monotonic())
        return 429 if len(times) == 1 else 204

    there.answer, there.headers = answer, {"Retry-After": "1"}
    ids = shop.moves(5, shoppers=5)
    with telling(settings(there, concurrency=1), redis_url):
        there.until_taken(ids)
    assert times[1] - times[0] >= 0.95


def test_a_refused_change_delays_only_its_shopper(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    there.answer = lambda one: 500 if one.json["userId"] == "shopper-0" else 204
    ids = shop.moves(200, shoppers=20)
    others = [one for n, one in enumerate(ids) if n % 20]
    with telling(settings(there, concurrency=2), redis_url):
        there.until_taken(others)


def test_no_more_requests_at_once_than_configured(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    now, most = [0], [0]

    def answer(_: Request) -> int:
        return 204

    hear = there.hear

    def heard(handler: Any, request: Request) -> None:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.01)
        now[0] -= 1
        hear(handler, request)

    there.answer, there.hear = answer, heard  # type: ignore[method-assign]
    with telling(settings(there, concurrency=3), redis_url):
        there.until_taken(shop.moves(60))
    assert 1 < most[0] <= 3


def test_only_configured_segments_are_delivered(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    ids = shop.tells(
        *(Change("enter", "ann", sid, 7) for sid in ("vip", "rfm-lost", "rfm-new", "cluster-1")),
        Change("stage", "ann", "lifecycle-new", 8),
    )
    wanted = {"a": Endpoint(url=there.url, purpose="ads", segments=("vip", "rfm-*"))}
    with telling(settings(endpoints=wanted), redis_url):
        there.until_taken(ids[:3])
        until(lambda: pending(shop) == 0)
    assert sorted(one.id for one in there.taken) == sorted(ids[:3])


def test_a_new_endpoint_starts_with_new_changes(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    shop.moves(5)
    chosen = settings(there, start="newest")
    with telling(chosen, redis_url):
        until(lambda: bool(shop.store.client.xinfo_groups(keys.change_stream_key(7))))
        ids = shop.moves(30)
        there.until_taken(ids)
    while_away = shop.moves(30)
    with telling(chosen, redis_url):
        there.until_taken(while_away)
    assert [one.id for one in there.taken if one.id not in ids + while_away] == []
    assert len(there.taken) == 60


def test_delivery_continues_after_redis_restarts_or_loses_its_data(there: Endpointer) -> None:
    with EmbeddedRedis() as server:
        shop = Shop(server.url)
        with telling(settings(there), server.url):
            before = shop.moves(40)
            there.until_taken(before)
            server.stop()
            time.sleep(0.3)
            server.start()
            ids = shop.moves(40)
            there.until_taken(ids)
            until(lambda: pending(shop) == 0)
        assert [one.id for one in there.taken if one.id not in before + ids] == []


def test_nothing_arrives_after_sigterm_and_nothing_is_lost(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    def slow(_: Request) -> int:
        time.sleep(0.01)
        return 204

    there.answer = slow
    ids = shop.moves(300)
    run = process(settings(there, timeout_ms=7000), redis_url)
    run.until(lambda: len(there.taken) > 20)
    code, said = run.stop()
    arrived = len(there.requests)
    assert (code, said) == (0, "")
    assert pending(shop) < 300
    assert arrived < 300
    taken = {one.id for one in there.taken}
    time.sleep(0.3)
    assert len(there.requests) == arrived
    with telling(settings(there), redis_url):
        there.until_taken(ids)
    again = [one.id for one in there.taken[arrived:]]
    assert not taken & set(again)  # what was taken before was acknowledged
    assert_in_order(there.taken)


def test_kill_9_loses_nothing(there: Endpointer, shop: Shop, redis_url: str) -> None:
    def slow(_: Request) -> int:
        time.sleep(0.01)
        return 204

    there.answer = slow
    ids = shop.moves(300)
    run = process(settings(there), redis_url)
    run.until(lambda: len(there.taken) > 30)
    run.kill()
    assert len(there.taken) < 300
    with telling(settings(there), redis_url):
        there.until_taken(ids)
        until(lambda: pending(shop) == 0)
    bodies = {(one.id, one.body) for one in there.taken}
    assert len(bodies) == len(ids)  # repeated messages are equal


def test_a_second_process_waits_until_the_first_ends(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    with telling(settings(there), redis_url):
        there.until_taken(shop.moves(5))
        with telling(settings(there), redis_url):
            there.until_taken(shop.moves(50))
            time.sleep(0.2)
    assert max(Counter(one.id for one in there.taken).values()) == 1


def test_a_shopper_who_refuses_the_purpose_is_not_sent_to_the_endpoint(
    shop: Shop, redis_url: str
) -> None:
    with endpoint() as ads, endpoint() as figures:
        named = {
            "ads": Endpoint(url=ads.url, purpose="ads"),
            "figures": Endpoint(url=figures.url, purpose="analytics"),
        }
        told = shop.tells(
            Change("enter", "ann", "vip", 1, known=True),
            Change("enter", "bob", "vip", 2, known=True, refused=ADS),
            Change("refuse", "ann", "ads", 3, known=True),
            Change("leave", "ann", "vip", 4, known=True, refused=ADS),
            Change("erase", "bob", "", 5, known=True, refused=ADS),
            Change("enter", "eve", "vip", 6, known=True, refused=PERSONALIZATION),
        )
        with telling(settings(endpoints=named), redis_url):
            ads.until_taken([told[0], told[2], told[5]])
            figures.until_taken([told[0], told[1], told[3], told[4], told[5]])
            time.sleep(0.2)
        assert len(ads.taken) == 3
        assert len(figures.taken) == 5
        (withdrawn,) = [one.json for one in ads.taken if one.id == told[2]]
        assert (withdrawn["event"], withdrawn["userId"], withdrawn["properties"]) == (
            "Consent Withdrawn",
            "ann",
            {"purpose": "ads"},
        )


CRM = "hooks.endpoints.crm={url: 'https://crm.example/in', purpose: ads}"


@pytest.mark.parametrize(
    ("words", "secret", "said"),
    [
        ([], SECRET, "there is no webhook: name endpoints in hooks.endpoints"),
        (
            ["--set", CRM],
            "",
            "hooks.endpoints.crm has no secret to sign with: set PENSTOCK_HOOKS_SECRET, or",
        ),
        (
            ["--set", CRM],
            "hunter2",
            "PENSTOCK_HOOKS_SECRET is no secret: `whsec_` and base64 of at least 24 bytes",
        ),
        (
            ["--set", "hooks.endpoints.crm.url=ftp://crm.example/in"],
            SECRET,
            "url must be http:// or https:// with a host and without a login",
        ),
        (
            ["--set", CRM, "--again", "erp"],
            SECRET,
            "--again erp: endpoints are crm",
        ),
    ],
)
def test_an_impossible_configuration_is_a_one_line_error(
    words: list[str],
    secret: str,
    said: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PENSTOCK_HOOKS_SECRET", secret)
    assert main(["hooks", "--redis", redis_url, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "hunter2" not in error


def test_check_reports_whether_an_endpoint_is_reachable(
    there: Endpointer,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def check(url: str) -> tuple[int, list[str]]:
        crm = f"hooks.endpoints.crm={{url: '{url}', purpose: ads}}"
        code = main(["check", "--redis", redis_url, "--set", crm])
        assert code == 1  # of Kafka, which is not here
        said = [line for line in capsys.readouterr().out.splitlines() if "hooks.crm" in line]
        return int(any("NOT GOOD" in line for line in said)), said

    server = there.url.partition("//")[2].partition("/")[0]
    assert check(there.url) == (
        0,
        [f"hooks.crm      good ({server} takes connections; *; there is a secret to sign with)"],
    )
    assert there.requests == []
    code, (said,) = check("http://localhost:1/x")
    assert (code, said) == (
        1,
        "hooks.crm      NOT GOOD: localhost:1 takes no connection: is hooks.endpoints.crm.url right?",
    )
    monkeypatch.delenv("PENSTOCK_HOOKS_SECRET")
    code, (said,) = check(there.url)
    assert code == 1
    assert "hooks.endpoints.crm has no secret to sign with" in said


def test_the_signature_check_in_the_docs_works(
    there: Endpointer, shop: Shop, redis_url: str
) -> None:
    page = (Path(__file__).parents[3] / "docs/changes.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    told: dict[str, Any] = {}
    exec(code, told)
    with telling(settings(there), redis_url):
        there.until_taken(shop.moves(1))
    (one,) = there.taken
    assert told["is_ours"](one.headers, one.body, SECRET)
    assert not told["is_ours"](one.headers, one.body + b" ", SECRET)
    assert not told["is_ours"](one.headers, one.body, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")


def test_commands_in_the_docs_are_valid() -> None:
    page = (Path(__file__).parents[3] / "docs/changes.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("penstock ")]
    assert len(lines) == 2
    for line in lines:
        assert callable(parser().parse_args(shlex.split(line)[1:]).run)
