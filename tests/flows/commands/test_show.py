"""`penstock show`: prints the content of Redis, which is written by hand here as in the contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from flows.commands.cli import main
from state import keys
from state.store import Store

if TYPE_CHECKING:
    from redis import Redis

AT_MS = 1_767_225_600_000
PROFILE: dict[Any, str | int] = {
    "known": 1,
    "first_ms": AT_MS,
    "last_ms": AT_MS + 61_000,
    "sessions": 2,
    "views": 7,
    "carts": 1,
    "purchases": 0,
    "revenue": "0.00",
    "top_category": "kitchen/mug",
}
SESSION: dict[Any, str | int] = {
    "id": f"ann:{AT_MS}",
    "start_ms": AT_MS,
    "last_ms": AT_MS + 61_000,
    "events": 3,
    "views": 2,
    "carts": 1,
    "purchases": 0,
    "cart_value": "12.50",
    "intent": "cart",
}
HEAD = [
    "profile   known by a user id, first seen 2026-01-01 00:00:00 UTC, "
    "last seen 2026-01-01 00:01:01 UTC",
    "profile   sessions 2, views 7, put in cart 1, orders 0, revenue 0.00",
    "profile   likes kitchen/mug best",
    "session   here since 2026-01-01 00:00:00 UTC, events 3, cart worth 12.50, cart",
    "segment   keen on mugs (cluster-3), since 2026-01-01 00:00:05 UTC",
]


def a_list(*entries: tuple[str, float, str]) -> bytes:
    return orjson.dumps({"at": AT_MS, "model": "1", "source": "blend", "items": entries})


@pytest.fixture
def client(redis_url: str) -> Redis:
    """A Redis in which ann has everything but a list, and one item has a card."""
    client: Redis = Store(redis_url, timeout_ms=2000, patience_s=0).client
    client.hset(keys.profile_key("ann"), mapping=PROFILE)
    client.hset(keys.session_key("ann"), mapping=SESSION)
    client.hset(keys.segments_key("ann"), "cluster-3", AT_MS + 5_000)
    client.hset(keys.registry_key(), "cluster-3", '{"name":"keen on mugs"}')
    client.set(keys.alias_key("cookie 7"), "ann")
    client.hset(keys.card_key("mug-1"), "name", "Grey mug")
    return client


def show(redis_url: str, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["show", *words, "--redis", redis_url]) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_show_prints_everything_known_and_the_list_with_reasons(
    client: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [("mug-1", 0.9, "because:mug-1"), ("cup-1", 0.5, "because:mug-1")]
    entries += [("pot-1", 0.2, "popular"), ("pan-1", 0.1, "factors"), ("lid-1", 0.1, "newcomer")]
    client.set(keys.top_key("ann", "home"), a_list(*entries))
    assert show(redis_url, capsys, "ann") == [
        "shopper   ann",
        *HEAD,
        "list      own list as of 2026-01-01 00:00:00 UTC, from ps:1:shopper:{ann}:top:home",
        "         1  Grey mug (mug-1)  because you looked at it",
        "         2  cup-1             because you looked at Grey mug",
        "         3  pot-1             popular right now",
        "         4  pan-1             goes with what was looked at",
        "         5  lid-1             suggested by newcomer",
    ]


def test_an_anonymous_id_is_resolved_first(
    client: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = show(redis_url, capsys, "cookie 7")
    assert shown[:6] == ["shopper   ann, as whom cookie 7 is known", *HEAD]


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (keys.popular_key("segment", "cluster-3"), "popular in the segment cluster-3"),
        (keys.popular_key("category", "kitchen/mug"), "popular in the category kitchen/mug"),
        (keys.popular_key(), "popular in the whole shop"),
    ],
)
def test_without_a_list_the_fallback_is_printed_and_named(
    client: Redis, redis_url: str, capsys: pytest.CaptureFixture[str], key: str, place: str
) -> None:
    client.set(key, a_list(("mug-1", 1.0, "popular")))
    assert show(redis_url, capsys, "ann")[6:] == [
        f"list      {place} as of 2026-01-01 00:00:00 UTC, from {key}",
        "         1  Grey mug (mug-1)  popular right now",
    ]


def test_without_any_list_show_says_that_the_storefront_has_its_own(
    client: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(redis_url, capsys, "ann")[6:] == [
        "list      none, so a storefront shows the shop's own list"
    ]


def test_another_slot_is_another_list(
    client: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set(keys.top_key("ann", "cart"), a_list(("mug-1", 1.0, "popular")))
    shown = show(redis_url, capsys, "ann", "--slot", "cart")
    assert shown[6].endswith("from ps:1:shopper:{ann}:top:cart")


def test_json_has_the_same_content(
    client: Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set(keys.top_key("ann", "home"), a_list(("cup-1", 0.5, "because:mug-1")))
    shown: dict[str, Any] = json.loads("\n".join(show(redis_url, capsys, "cookie 7", "--json")))
    assert shown == {
        "asked": "cookie 7",
        "shopper": "ann",
        "profile": {name: str(value) for name, value in PROFILE.items()},
        "session": {name: str(value) for name, value in SESSION.items()},
        "segments": [{"segment": "cluster-3", "name": "keen on mugs", "since_ms": AT_MS + 5_000}],
        "offer": {
            "place": "own list",
            "key": "ps:1:shopper:{ann}:top:home",
            "at_ms": AT_MS,
            "items": [
                {
                    "item": "cup-1",
                    "name": "cup-1",
                    "score": 0.5,
                    "reason": "because:mug-1",
                    "in_words": "because you looked at Grey mug",
                }
            ],
        },
    }


@pytest.mark.parametrize("shopper", ["nobody", "a b:{c}", ""])
def test_an_unknown_shopper_is_one_error_line(
    redis_url: str, capsys: pytest.CaptureFixture[str], shopper: str
) -> None:
    assert main(["show", shopper, "--redis", redis_url]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"penstock: Redis at {Store(redis_url, timeout_ms=1, patience_s=0).address} knows no shopper "
        f"{shopper!r}: never seen, erased, or expired\n"
    )
