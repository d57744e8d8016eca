"""Bad input through the command line: a dead letter or one line that says what to do; nothing lost."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows.commands.cli import main
from flows.process.embedded_redis import EmbeddedRedis
from flows.process.exit_codes import EXIT_USER_ERROR
from serving.reader import Storefront
from state.store import LOGIN_VARIABLE, Store

AT_MS = 1_700_000_000_000


def record(**changes: Any) -> bytes:
    """A good item view with these fields changed; `...` leaves one out."""
    fields = {
        "event_id": "e",
        "type": "item_view",
        "event_ts": AT_MS,
        "user_id": "ann",
        "items": [{"item_id": "mug"}],
    } | changes
    return json.dumps({k: v for k, v in fields.items() if v is not ...}).encode()


def order(**changes: Any) -> bytes:
    """An order with these fields changed."""
    return record(type="purchase", order_id="o", **changes)


def item(**changes: Any) -> list[dict[str, Any]]:
    return [{"item_id": "mug"} | changes]


BAD = [
    ("a line cut off", record()[:-9], "not_json"),
    ("an empty line", b"", "not_json"),
    ("not UTF-8", record(user_id="?").replace(b"?", b"\xff"), "not_json"),
    ("100 levels of lists", record(x="?").replace(b'"?"', b"[" * 100 + b"]" * 100), "not_json"),
    ("100 levels of objects", b'{"x":' * 100 + b"1" + b"}" * 100, "not_json"),
    ("a decimal for an id", record(user_id=1.5), "blocked_id"),
    ("text for the items", record(items="mug"), "schema_violation"),
    ("a list, not an object", b"[]", "schema_violation"),
    ("more than 1 MB", record(note="x" * 2**20), "too_large"),
    ("an unknown type", record(type="buy"), "unknown_type"),
    ("no id", record(user_id=...), "no_identity"),
    ("only blocked ids", record(user_id="null", anonymous_id="0"), "blocked_id"),
    ("an empty order id", record(type="purchase", order_id=""), "empty_order_id"),
    ("no order id", record(type="refund"), "empty_order_id"),
    ("a value that may be two", order(value="1,250"), "bad_money"),
    ("no number for a value", order(value="much"), "bad_money"),
    ("a price that nobody knows", order(items=item(price="?")), "bad_money"),
    ("a time of 0", record(event_ts=0), "bad_timestamp"),
    ("a time in the far future", record(event_ts=AT_MS * 10), "bad_timestamp"),
    ("a time beyond 64 bits", record(event_ts=10**30), "bad_timestamp"),
]
AWKWARD = [
    "a b",
    "a:b",
    "a{b}c",
    "{",
    "%3A",
    "🦊🦊",
    "x" * 128,
    "é/..",
    "' or 1=1",
    "\u0001z",
    "$(x)",
]


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """A replay of canonical events: its exit code and what it says on standard error."""
    code = main(["replay", *words, "--format", "penstock", "--report", "report.json"])
    return code, capfd.readouterr().err.splitlines()


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_bad_record_is_a_dead_letter_and_every_good_one_counts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    good = [record(event_id=f"g{n}", user_id=f"u{n}", event_ts=AT_MS + n) for n in range(len(BAD))]
    mixed = [line for n, (_, bad, _) in enumerate(BAD) for line in (good[n], bad, good[n])]
    Path("log").write_bytes(b"\n".join(mixed))
    assert run(capfd, "log") == (0, [])
    letters = map(json.loads, Path("log.dead-letters.jsonl").read_bytes().splitlines())
    named = {letter["offset"]: letter["failure_type"] for letter in letters}
    assert {name: named.get(3 * n + 2) for n, (name, _, _) in enumerate(BAD)} == {
        name: failure_type for name, _, failure_type in BAD
    }
    report = json.loads(Path("report.json").read_bytes())
    assert {name: report[name] for name in ("events", "accepted", "rejected", "duplicates")} == {
        "events": len(mixed),
        "accepted": len(good),
        "rejected": dict(Counter(failure_type for _, _, failure_type in BAD)),
        "duplicates": len(good),
    }


def test_awkward_ids_are_found_again(capfd: pytest.CaptureFixture[str], redis_url: str) -> None:
    lines = [
        record(event_id=f"{n}", user_id=odd, items=item(item_id=odd, name=odd, category=[odd]))
        for n, odd in enumerate(AWKWARD)
    ]
    Path("log").write_bytes(b"\n".join(lines))
    assert run(capfd, "log", "--redis", redis_url) == (0, [])
    shop = Storefront(Store(redis_url, timeout_ms=2000, patience_s=0))
    seen = {odd: shop.profile(odd) for odd in AWKWARD}
    assert {odd: (found["events"], found["top_category"]) for odd, found in seen.items()} == {
        odd: ("1", odd) for odd in AWKWARD
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b""), "log holds no events: nothing to replay"),
        (b"a,b\n1,2\n", "nothing in log is an event of format penstock: choose another --format"),
        (record().decode().encode("utf-16"), "nothing in log is an event of format penstock"),
        (bytes(range(256)) * 100, "nothing in log is an event of format penstock"),
    ],
    ids=["an empty gzip", "a table", "UTF-16", "no text"],
)
def test_a_file_without_a_single_event_is_an_error(
    capfd: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    Path("log").write_bytes(content)
    code, errors = run(capfd, "log")
    assert (code, len(errors)) == (EXIT_USER_ERROR, 1)
    assert errors[0].startswith(f"penstock: {said}")


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Path("log").write_bytes(b"\xef\xbb\xbf" + record(event_id="1") + b"\r\n" + record(event_id="2"))
    assert run(capfd, "log") == (0, [])
    assert not Path("log.dead-letters.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"requirepass": "right"},
            f"refused the login (Authentication required.): set {LOGIN_VARIABLE}",
        ),
        ({"maxmemory": "1"}, "is full: raise its maxmemory"),
        ({"replicaof": "127.0.0.1 1"}, "is read-only, perhaps a replica: point redis.url at"),
    ],
    ids=["no password", "full", "read-only"],
)
def test_a_redis_that_cannot_be_written_is_one_line(
    capfd: pytest.CaptureFixture[str], options: dict[str, str], said: str
) -> None:
    Path("log").write_bytes(record())
    with EmbeddedRedis(**options) as server:
        code, errors = run(capfd, "log", "--redis", server.url.replace(":right@", ""))
    assert (code, len(errors)) == (EXIT_USER_ERROR, 1)
    assert said in errors[0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sessions.gap=3", "unknown field `gap` - at `$.sessions`"),
        ("nothing=1", "unknown field `nothing`"),
        ("lists.weights.gift=1", "unknown field `gift` - at `$.lists.weights`"),
        ("sessions.gap_ms=long", "Expected `int`, got `str` - at `$.sessions.gap_ms`"),
        ("sessions.gap_ms=1.5", "Expected `int`, got `float` - at `$.sessions.gap_ms`"),
        ("sessions.gap_ms=", "Expected `int`, got `str` - at `$.sessions.gap_ms`"),
        ("sessions=3", "Expected `object`, got `int` - at `$.sessions`"),
        ("lists.k=101", "Expected `int` <= 100 - at `$.lists.k`"),
        ("gap", "--set gap: expected a.b=c, as in --set lists.k=30"),
    ],
)
def test_a_setting_that_is_none_is_one_line_that_names_it(
    capfd: pytest.CaptureFixture[str], setting: str, said: str
) -> None:
    Path("log").write_bytes(record())
    code, errors = run(capfd, "log", "--set", setting)
    assert (code, len(errors)) == (EXIT_USER_ERROR, 1)
    assert errors[0].endswith(said)
    assert f"--set {setting}" in errors[0]
