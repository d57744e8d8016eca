"""Data never acts on a terminal, in a log or in a spreadsheet; every id is accepted as it is."""

from __future__ import annotations

import io
import json
import logging
import re
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from flows.commands.cli import main
from flows.commands.demo_view import render
from flows.observability import logs
from flows.process import printing
from serving.dashboard.export import _escape_formula
from serving.demo_monitor import DemoMonitor
from serving.reader import Storefront
from state.config_deployment import Log
from state.printable import printable
from state.store import Store
from tests.shared import shared_case

if TYPE_CHECKING:
    from pathlib import Path

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
AT_MS = 1_772_359_200_000
EVIL = "ann\x1b[2K\x1b[1A\x9b31m\x7f\u202eVIP"
SEEN = r"ann\u001b[2K\u001b[1A\u009b31m\u007f\u202eVIP"


def event(number: int, shopper: str, item: str = "mug", **more: str) -> bytes:
    fields = {"event_id": str(number), "type": "item_view", "event_ts": AT_MS + number}
    fields |= {"user_id": shopper, "items": [{"item_id": item, **more}]}
    return json.dumps(fields).encode()


def replayed(path: Path, redis_url: str, folder: Path) -> None:
    letters = str(folder / "letters.jsonl")
    words = ("--format", "penstock", "--redis", redis_url, "--dead-letters", letters)
    assert main(["replay", str(path), *words]) == 0


@given(st.text(max_size=30))
def test_printable_text_has_no_control_characters_and_is_reversible(text: str) -> None:
    shown = printable(text)
    assert not CONTROLS.search(shown)
    assert "\n" not in shown
    if "\\" not in text:
        assert json.loads(f'"{shown}"' if '"' not in shown else json.dumps(text)) == text


def test_a_console_prints_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table.grid()
    table.add_row(EVIL, "a")
    on = printing.create_console()
    on.print(EVIL, markup=False)
    on.print(table, markup=False)
    printing.print_lines([EVIL + "\nsecond"], on)
    printing.print_error(EVIL + "\nsecond")
    out, err = capsys.readouterr()
    assert not CONTROLS.search(out + err)
    assert out.splitlines()[0] == SEEN
    assert (out.count("\n"), err.count("\n")) == (3, 1)


def test_no_command_prints_control_characters_of_data(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    bad = json.dumps({"event_id": "9", "type": EVIL, "event_ts": AT_MS, "user_id": EVIL}).encode()
    lines = [event(1, EVIL, EVIL, name=EVIL), event(2, "bob", EVIL), event(3, "bob", "cup"), bad]
    log.write_bytes(b"\n".join(lines))
    replayed(log, redis_url, tmp_path)
    here = ["--redis", redis_url]
    assert main(["show", EVIL, *here]) == 0
    assert main(["show", EVIL, "--json", *here]) == 0
    assert main(["show", "bob", *here]) == 0
    assert main(["show", f"no{EVIL}", *here]) == 1
    assert main(["segments", "list", *here]) == 0
    assert main(["segments", "members", "lifecycle-new", *here]) == 0
    assert main(["segments", "why", EVIL, "lifecycle-new", *here]) == 0
    assert main(["segments", "show", EVIL, *here]) == 1
    assert main(["replay", f"/nowhere/{EVIL}", "--format", "penstock"]) == 2
    with pytest.raises(SystemExit):
        main(["show", "--slot", *here, f"--{EVIL}"])
    out, err = capsys.readouterr()
    assert SEEN in out
    assert SEEN in err
    assert not CONTROLS.search(out + err)
    assert not CONTROLS.search((tmp_path / "letters.jsonl").read_text())


def test_the_shared_case_prints_no_control_characters(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared_case("terminal-escapes")
    replayed(path, redis_url, tmp_path)
    ids = {json.loads(line)["user_id"] for line in path.read_bytes().splitlines()}
    for shopper in ids:
        assert main(["show", shopper, "--redis", redis_url]) == 0
    assert main(["segments", "members", "lifecycle-new", "--redis", redis_url]) == 0
    out, err = capsys.readouterr()
    assert not CONTROLS.search(out + err)
    assert "VIP" in out


def test_the_demo_prints_no_control_characters(redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\n".join([event(1, EVIL, EVIL, name=EVIL), event(2, EVIL, "cup")]))
    replayed(log, redis_url, tmp_path)
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    frame = DemoMonitor(Storefront(store)).read_frame(0.0)
    assert frame.followed is not None
    on = printing.create_console()
    with on.capture() as seen:
        on.print(render(frame, redis_url))
    assert SEEN[:20] in seen.get()
    assert not CONTROLS.search(seen.get())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_log_line_is_one_line_without_control_characters(form: str) -> None:
    try:
        with redirect_stderr(io.StringIO()) as said:
            logs.configure(Log(format=form))  # type: ignore[arg-type]
            logging.getLogger("penstock.x").error("%s\nsecond", EVIL, extra={"shopper": EVIL})
    finally:
        logs.configure()
    assert said.getvalue().count("\n") == 1
    assert not CONTROLS.search(said.getvalue())


def test_a_cell_of_an_export_is_no_formula_and_has_no_control_characters() -> None:
    assert _escape_formula(EVIL) == SEEN
    assert _escape_formula("=cmd\x1b") == r"'=cmd\u001b"


DASHED = ["-Nx7abc", "-help", "-h7", "-recovery", "-i0x", "-Nx 7"]


@pytest.mark.parametrize("shopper", DASHED)
def test_an_id_that_begins_with_a_dash_is_accepted(
    shopper: str, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(event(1, shopper))
    replayed(log, redis_url, tmp_path)
    here = ["--redis", redis_url]
    for words in (
        ["show", shopper, *here],
        ["show", *here, shopper],
        ["show", *here, "--", shopper],
        ["segments", "why", shopper, "lifecycle-new", *here],
    ):
        assert main(words) == 0, words
    assert shopper in capsys.readouterr().out


def test_the_error_for_an_id_with_two_dashes_says_what_to_write(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["show", "--abc"], ["segments", "why", "--abc", "lifecycle-new"]):
        with pytest.raises(SystemExit):
            main([*words, "--redis", redis_url])
        assert "if --abc is an id, write -- before it" in capsys.readouterr().err
    assert main(["show", "--redis", redis_url, "--", "--abc"]) == 1


def test_every_id_of_the_shared_case_is_found(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared_case("id-with-dash")
    replayed(path, redis_url, tmp_path)
    for line in path.read_bytes().splitlines():
        shopper = json.loads(line)["user_id"].strip()
        if "bad" not in shopper:  # half of an emoji: nobody knows who that was
            assert main(["show", shopper, "--redis", redis_url]) == 0, shopper
    assert not CONTROLS.search(capsys.readouterr().out)
