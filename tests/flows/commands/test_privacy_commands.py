"""`penstock export-subject` and `penstock erase` from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flows.commands.cli import main
from flows.commands.erase import _record
from operators.events.decode import RecordPosition, decode
from state import keys
from state.config import Settings
from state.events import Event
from tests.streams import ITEMS, MINUTE_MS, event, run_flow, view

if TYPE_CHECKING:
    from pathlib import Path

SHOP = [
    *(view(f"c{n}", n * MINUTE_MS, f"crowd {n % 5}") for n in range(30)),
    view("1", 31 * MINUTE_MS, "d:1"),
    event("identify", "2", 32 * MINUTE_MS, "d:1", "ann"),
    event("purchase", "3", 33 * MINUTE_MS, "d:1", "ann", order_id="o", items=ITEMS[:2]),
]


def test_an_export_has_everything_stored_about_a_shopper(redis_url: str, tmp_path: Path) -> None:
    rows = run_flow(SHOP, redis_url, tmp_path)
    out = tmp_path / "ann.json"
    assert main(["export-subject", "d:1", "--out", str(out), "--redis", redis_url]) == 0
    assert out.stat().st_mode & 0o777 == 0o600
    export = json.loads(out.read_bytes())
    held = export["held"]
    assert held[keys.alias_key("d:1")] == "ann"
    profile = {n.decode(): v.decode() for n, v in rows[keys.profile_key("ann")]}
    assert held[keys.profile_key("ann")] == profile
    assert export["explained"]["shopper"] == "ann"
    own = {key for key in rows if key.startswith(keys.shopper_key("ann"))}
    assert own <= held.keys()
    segments = dict(rows[keys.segments_key("ann")])
    assert {keys.members_key(sid.decode()) for sid in segments} <= held.keys()
    assert {one["kind"] for one in held[keys.changes_key("d:1")]} >= {"merge"}
    assert "crowd" not in out.read_text()


def test_an_unknown_shopper_is_not_exported(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main(["export-subject", "nobody", "--out", str(out), "--redis", redis_url]) == 1
    assert "knows no shopper 'nobody'" in capsys.readouterr().err
    assert not out.exists()


def test_the_flow_reads_the_sent_erase_event() -> None:
    record = _record("ann", 1_700_000_000_000, Settings())
    found = decode(record, RecordPosition("s", "0", 0), now_ms=1_700_000_000_000)
    assert isinstance(found, Event)
    assert (found.type, found.user_id, found.event_ts) == ("erase", "ann", 1_700_000_000_000)


def test_erase_without_an_id_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase"]) == 2
    assert main(["erase", "null"]) == 2
    assert "is no id of a shopper" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        (None, "good (PENSTOCK_PRIVACY_KEY is not set: "),
        ("0123456789abcdef", "good (PENSTOCK_PRIVACY_KEY is set)"),
        ("too short", "NOT GOOD: PENSTOCK_PRIVACY_KEY has 9 characters"),
    ],
)
def test_check_reports_whether_a_privacy_key_is_set(
    key: str | None,
    verdict: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PENSTOCK_PRIVACY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("PENSTOCK_PRIVACY_KEY", key)
    assert main(["check", "--redis", "redis://localhost:1"]) == 1
    out = capsys.readouterr().out
    (said,) = [line for line in out.splitlines() if line.startswith("privacy ")]
    assert said.startswith(f"privacy        {verdict}")
    assert key is None or key not in said
