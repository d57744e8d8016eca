"""`penstock replay`: its output, its report, and the files that it reads."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.process.exit_codes import EXIT_USER_ERROR
from operators.synthetic.traffic import encode_lines, generate_events
from tests.flows.commands.runs import EVENTS, Terminal

if TYPE_CHECKING:
    import pytest


def test_every_event_is_accounted_for(terminal: Terminal, log: Path) -> None:
    report = terminal.report(log, "--format", "penstock")
    sent = log.read_bytes().splitlines()
    cut = [line for line in sent if not line.endswith(b"}")]
    whole = [line for line in sent if line.endswith(b"}")]
    assert {name: report[name] for name in ("events", "accepted", "rejected", "duplicates")} == {
        "events": len(sent),
        "accepted": len(set(whole)),
        "rejected": {"not_json": len(cut)},
        "duplicates": len(whole) - len(set(whole)),
    }
    letters = Path("shop.jsonl.dead-letters.jsonl").read_bytes().splitlines()
    assert [json.loads(letter)["raw"].encode() for letter in letters] == cut


def test_the_report_has_the_documented_fields(terminal: Terminal, log: Path) -> None:
    documented = (
        "events rejected duplicates late by_type shoppers items sessions_opened sessions_closed "
        "lists_written segment_changes wall_s events_per_s peak_rss_mb watermark_ms config_sha256 "
        "state_sha256 facts_sha256"
    )
    report = terminal.report(log, "--format", "penstock")
    assert set(documented.split()) - set(report) == set()
    assert sum(report["by_type"].values()) == report["events"] - sum(report["rejected"].values())


def test_the_summary_has_counts_segments_and_a_list(terminal: Terminal, log: Path) -> None:
    ran = terminal.run("replay", log, "--format", "penstock", "--set", "source.batch_events=256")
    heads = [line[:10].strip() for line in ran.out]
    figures = ["events", "accepted", "rejected", "repeated", "shoppers", "lists"]
    assert heads == [*figures, *["segment"] * 3, "list", *[""] * 5]
    assert "see shop.jsonl.dead-letters.jsonl" in ran.out[2]
    assert all(", because you looked at " in line or ", popular" in line for line in ran.out[-5:])


def test_a_valid_log_leaves_no_dead_letters(terminal: Terminal, tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_bytes(b"\n".join(encode_lines(generate_events(events=100, items=20))))
    report = terminal.report(good, "--format", "penstock")
    assert (report["accepted"], report["rejected"]) == (100, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.jsonl", "report.json"]


def test_plain_gzip_and_standard_input_give_the_same(
    terminal: Terminal, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "shop.jsonl.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    from_file = terminal.report(log, "--format", "penstock")["state_sha256"]
    from_gzip = terminal.report(packed, "--format", "penstock")["state_sha256"]
    with log.open() as redirected:
        monkeypatch.setattr(sys, "stdin", redirected)
        from_input = terminal.report("-", "--format", "penstock")["state_sha256"]
    assert from_file == from_gzip == from_input


def test_an_unsorted_format_is_sorted_by_time_first(terminal: Terminal, tmp_path: Path) -> None:
    rows = [f"{1_433_000_000_000 + n * 600_000},{n % 7 + 1},view,{n % 5},\n" for n in range(300)]
    by_time, shuffled = tmp_path / "time.csv", tmp_path / "shuffled.csv"
    header = "timestamp,visitorid,event,itemid,transactionid\n"
    by_time.write_text(header + "".join(rows))
    shuffled.write_text(header + "".join(rows[::-1]))
    reports = [terminal.report(file, "--format", "retailrocket") for file in (by_time, shuffled)]
    assert reports[0]["late"] == reports[1]["late"] == 0
    assert reports[0]["facts_sha256"] == reports[1]["facts_sha256"]


def test_rows_of_one_order_far_apart_are_joined(terminal: Terminal) -> None:
    order = [f"143300000000{n},7,transaction,{n},900" for n in range(2)]
    days_later = "1433900000000,8,view,5,"
    log = Path("events.csv")
    log.write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        + "\n".join([order[1], days_later, order[0]])
    )
    report = terminal.report(log, "--format", "retailrocket")
    assert (report["by_type"], report["duplicates"]) == ({"item_view": 1, "purchase": 1}, 0)
    assert report["items"] == 3


def test_the_readable_part_of_a_damaged_file_is_replayed_and_reported(
    terminal: Terminal, log: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.jsonl.gz"
    packed = gzip.compress(log.read_bytes())
    damaged.write_bytes(packed[: len(packed) // 2])
    ran = terminal.run("replay", damaged, "--format", "penstock", "--report", "report.json")
    report = json.loads(Path("report.json").read_bytes())
    assert ran.code == EXIT_USER_ERROR
    assert f"is damaged after line {report['events']} " in ran.err[0]
    assert len(ran.err) == 1
    assert 0 < report["events"] < EVENTS
    assert ran.out[0].startswith(f"events    {report['events']:,} in ")
