"""The store: writes arrive in order, and every key is read in a canonical form."""

from __future__ import annotations

import hashlib
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from state import keys
from state.store import Store, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.process.embedded_redis import EmbeddedRedis


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    opened = Store(redis_url, timeout_ms=2000, patience_s=2)
    yield opened
    opened.close()


def rows(store: Store) -> dict[str, Any]:
    return dict(store.rows())


def test_commands_arrive_in_order(store: Store) -> None:
    store.send([("SET", "ps:1:a", n) for n in range(100)])
    store.send([("SET", "ps:1:a", "last"), ("SET", "ps:1:b", 0.5)])
    store.flush()
    assert rows(store) == {"ps:1:a": b"last", "ps:1:b": b"0.5"}


def test_text_of_every_kind_arrives(store: Store) -> None:
    texts = ["", "ü 🛒", "a\r\nb", "\x00", "x" * 100_000]
    store.send([("HSET", "ps:1:h", str(n), text) for n, text in enumerate(texts)])
    store.send([("HSET", "ps:1:h", "bytes", b"\xff\x00")])
    store.flush()
    assert rows(store) == {
        "ps:1:h": [(str(n).encode(), text.encode()) for n, text in enumerate(texts)]
        + [(b"bytes", b"\xff\x00")]
    }


def test_many_commands_are_all_written(store: Store) -> None:
    """Several times what may wait for its replies."""
    for n in range(30):
        store.send([("SET", f"ps:1:{n}:{m}", b"x" * 10_000) for m in range(100)])
    store.flush()
    assert store.client.dbsize() == 3000


def test_deletions_that_follow_each_other_are_one_command(store: Store) -> None:
    names = [keys.session_key(f"shopper {n}") for n in range(600)]
    store.send([("SET", name, 1) for name in names])
    store.client.config_resetstat()
    store.send([*(("DEL", name) for name in names[:-1]), ("SET", names[0], 2)])
    store.flush()
    assert {key for key, _ in store.rows()} == {names[0], names[-1]}
    assert store.client.info("commandstats")["cmdstat_del"]["calls"] == 2  # of 512 keys at most


def test_flushing_nothing_returns_at_once(store: Store) -> None:
    store.flush()
    store.send([])
    store.flush()
    assert rows(store) == {}


def test_an_existing_stream_entry_is_not_written_again(store: Store) -> None:
    entries = [("XADD", "ps:1:s", f"{n}-0", "n", n) for n in (1, 2)]
    for _ in range(2):
        store.send(entries)
        store.flush()
    assert rows(store) == {"ps:1:s": [(b"1-0", {b"n": b"1"}), (b"2-0", {b"n": b"2"})]}


def test_every_type_has_a_canonical_form_independent_of_write_order(store: Store) -> None:
    store.send([("HSET", "ps:1:h", "b", 2), ("HSET", "ps:1:h", "a", 1), ("SET", "ps:1:s", "x")])
    store.send([("ZADD", "ps:1:z", 2, "b", 1, "a"), ("SET", "other", "x")])
    store.flush()
    expected = {
        "ps:1:h": [(b"a", b"1"), (b"b", b"2")],
        "ps:1:s": b"x",
        "ps:1:z": [(b"a", 1.0), (b"b", 2.0)],
    }
    assert rows(store) == expected
    digest = sha256(store.rows())
    assert digest == sha256(reversed(list(expected.items())))
    assert digest == sha256([*expected.items(), *expected.items()])
    assert digest != sha256(list(expected.items())[1:])
    assert sha256([]) == hashlib.sha256(b"").hexdigest()


def test_a_large_key_read_in_parts_has_the_same_digest(store: Store) -> None:
    many = range(25_000)
    store.send([("ZADD", "ps:1:z", *(x for n in many for x in (n, f"m{n}")))])
    store.send([("XADD", "ps:1:x", f"{n + 1}-0", "n", n) for n in many])
    store.send([("SET", f"ps:1:{n}", n) for n in range(3000)])
    store.flush()
    rows = dict(store.rows())
    by_hand = sorted(hashlib.sha256(repr(row).encode()).digest() for row in rows.items())
    digest = hashlib.sha256(b"".join(by_hand)).hexdigest()
    assert sha256(store.rows(in_parts=True)) == sha256(rows.items()) == digest


def test_a_digest_needs_constant_memory() -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        sha256((f"ps:1:{n}", b"x" * 100) for n in range(rows))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(100_000) < 1.5 * peak(50_000)


def test_many_keys_are_all_read(store: Store) -> None:
    store.send([("SET", f"ps:1:{n}", n) for n in range(5001)])
    store.flush()
    assert rows(store) == {f"ps:1:{n}": str(n).encode() for n in range(5001)}


def test_the_check_writes_only_the_contract_version(store: Store) -> None:
    store.check()
    assert rows(store) == {keys.meta_key(): [(b"contract", keys.CONTRACT_VERSION.encode())]}


def test_a_closed_store_opens_again(store: Store) -> None:
    for n in range(2):
        store.send([("SET", f"ps:1:{n}", n)])
        store.close()
    assert rows(store) == {"ps:1:0": b"0", "ps:1:1": b"1"}


def test_closing_leaves_no_connection(redis_server: EmbeddedRedis, redis_url: str) -> None:
    def connected() -> int:
        with closing(Store(redis_url, timeout_ms=2000, patience_s=2).client) as client:
            return len(client.client_list())

    before = connected()
    store = Store(redis_url, timeout_ms=2000, patience_s=2)
    store.check()
    store.send([("SET", "ps:1:a", 1)])
    store.flush()
    assert connected() > before
    store.close()
    assert connected() == before
