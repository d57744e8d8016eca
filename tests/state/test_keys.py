"""Keys: every id is a legal part of one, with one hash tag, and a reader can rebuild it from the id."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import keys

KeyOf = Callable[[str], str]

IDS = [
    "ann",
    "a b",
    "a:b",
    "{a}",
    "}{",
    "{}",
    "%",
    "%7B",
    "a%b",
    "☃ 🛒",
    "x" * 128,
    "🛒" * 128,
    "a\tb\nc\x00",
    "top:home",
    '"',
    "\\",
    "*",
]
OF_SHOPPER: list[KeyOf] = [
    keys.profile_key,
    keys.segments_key,
    keys.session_key,
    keys.alias_key,
    lambda name: keys.top_key(name, "home"),
]
OF_OTHERS: list[KeyOf] = [
    keys.members_key,
    keys.definition_key,
    keys.stats_key,
    keys.similar_key,
    keys.bought_key,
    keys.card_key,
    keys.model_key,
    lambda name: keys.popular_key("category", name),
]

anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)


def slot(key: str) -> int:
    """Redis Cluster's slot: CRC-16/XMODEM of the hash tag, else of the key, modulo 16384."""
    tag = re.search(r"\{([^}]+)\}", key)
    crc = 0
    for byte in (tag[1] if tag else key).encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc % 16384


def rebuilt(shopper: str, rest: str) -> str:
    """What a storefront that knows only the contract would ask for."""
    safe = "".join(
        f"%{ord(c):02X}" if c in "{}:%" or ord(c) < 32 or ord(c) == 127 else c for c in shopper
    )
    return "ps:1:shopper:{" + safe + "}:" + rest


def test_the_slot_function_is_the_published_one() -> None:
    assert slot("123456789") == 0x31C3 % 16384


def check(name: str) -> None:
    built = [key(name) for key in OF_SHOPPER + OF_OTHERS]
    for key in built:
        assert re.fullmatch(r"ps:1:[a-z]+:\{[^{}:\x00-\x1f\x7f]+\}(:[a-z0-9]+(:home)?)?", key), key
    assert len({slot(key(name)) for key in OF_SHOPPER}) == 1
    assert keys.profile_key(name) == rebuilt(name, "profile")
    assert keys.top_key(name, "home") == rebuilt(name, "top:home")
    assert keys.shopper_key(name) + "session" == keys.session_key(name)


@pytest.mark.parametrize("name", IDS)
def test_awkward_ids(name: str) -> None:
    check(name)


@given(anything)
def test_any_id(name: str) -> None:
    check(name)


@given(anything, anything)
def test_two_ids_never_share_a_key(one: str, other: str) -> None:
    assert (keys.encode_part(one) == keys.encode_part(other)) == (one == other)
    assert 0 <= keys.change_stream(one) < keys.CHANGE_STREAMS


def test_an_empty_id_is_no_part_of_a_key() -> None:
    for key in OF_SHOPPER + OF_OTHERS[:-1]:
        with pytest.raises(ValueError, match="an empty id"):
            key("")


def test_the_keys_without_an_id() -> None:
    assert [keys.meta_key(), keys.registry_key(), keys.worker_key(3), keys.changes_key("ann")] == [
        "ps:1:meta",
        "ps:1:segments",
        "ps:1:worker:{3}",
        f"ps:1:changes:{{{keys.change_stream('ann')}}}",
    ]


def test_which_stream_tells_of_a_shopper_is_frozen() -> None:
    assert [keys.change_stream(name) for name in ("ann", "bob", "☃")] == [3, 0, 4]
