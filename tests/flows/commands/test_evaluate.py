"""`penstock evaluate`: reports, plots, and one error line for each wrong option."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from flows.commands import extras
from flows.commands.evaluate import main

if TYPE_CHECKING:
    from pathlib import Path

Write = Callable[..., str]
Capture = pytest.CaptureFixture[str]

SESSIONS = "mug cup\nmug cup pot\ncup pot\n"
PLAIN = ["hr", "mrr", "ndcg", "map", "coverage", "gini", "novelty", "bias", "fresh"]
METRICS = [f"{name}@3" for name in PLAIN]


@pytest.fixture
def file(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "log") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def report_of(tmp_path: Path, *argv: str) -> dict[str, Any]:
    path = tmp_path / "report.json"
    assert main([*argv, "--report", str(path)]) == 0
    report: dict[str, Any] = json.loads(path.read_text())
    return report


def test_the_report_has_every_learner_and_the_blend_beside_them(
    file: Write, tmp_path: Path, capsys: Capture
) -> None:
    argv = (file(SESSIONS), "--format", "sequences", "--k", "3", "--known")
    report = report_of(tmp_path, *argv)
    assert list(report) == ["n", "learners", "blend", "breakdown"]
    assert report["n"] == 4
    assert {"popularity", "markov", "sr", "ar", "covisitation"} <= set(report["learners"])
    assert "blend" not in report["learners"]
    assert all(list(m) == METRICS for m in [*report["learners"].values(), report["blend"]])
    table, errors = capsys.readouterr()
    assert all(name in table for name in [*report["learners"], "blend", "4 cases"])
    assert errors == ""


def test_the_whole_report_of_one_learner(file: Write, tmp_path: Path) -> None:
    cases = file("mug\tcup\ncup\tmug\n", "cases")
    argv = ("--format", "sequences", "--protocol", "split", "--cases", cases, "--k", "1")
    assert report_of(tmp_path, file(SESSIONS), *argv, "--learners", "markov") == {
        "n": 2,
        "learners": {
            "markov": {
                "hr@1": 0.5,
                "mrr@1": 0.5,
                "ndcg@1": 0.5,
                "map@1": 0.5,
                "coverage@1": 0.666667,
                "gini@1": 0.333333,
                "novelty@1": 1.514874,
                "bias@1": 0.0,
                "fresh@1": 1.0,
            }
        },
        "breakdown": {},
    }


INTERACTIONS = (
    "rating,item_id,timestamp,user_id,event_type\n"
    ",mug,1.5,ann,view\n,cup,2,ann,purchase\n,pot,3,ann,VIEW\n5,pot,2,bob,\n"
)


@pytest.mark.parametrize(
    ("content", "format_name", "cases"),
    [
        (SESSIONS, "sequences", 7),
        (INTERACTIONS, "interactions", 3),
        ("SessionId\tItemId\tTime\n1\t7\t1396860669.277\n1\t8\t1396860886.9\n", "yoochoose", 2),
        (
            "timestamp,visitorid,event,itemid,transactionid\n"
            "1433221332117,257597,view,355908,\n1433221332118,257597,addtocart,355908,\n"
            "1433221332119,257597,view,355909,\n",
            "retailrocket",
            2,
        ),
    ],
)
def test_item_views_of_every_format_are_the_cases(
    file: Write, tmp_path: Path, content: str | bytes, format_name: str, cases: int
) -> None:
    learners = ("--learners", "popularity")
    report = report_of(tmp_path, file(content), "--format", format_name, *learners)
    assert report["n"] == cases


def test_two_configurations_are_compared_on_the_same_cases(
    file: Write, tmp_path: Path, capsys: Capture
) -> None:
    sessions = "".join(f"a{n % 7} b{n % 5} a{n % 7} c{n % 3}\n" for n in range(25))
    argv = (file(sessions), "--format", "sequences", "--k", "5", "--learners", "markov,blend")
    other = ("--against-set", "lists.popularity_half_life_hours=0.01")
    report = report_of(tmp_path, *argv, *other, "--by", "depth")
    assert list(report) == ["n", "learners", "blend", "against", "breakdown", "comparison"]
    found = report["comparison"]
    gain = report["blend"]["hr@5"] - report["against"]["hr@5"]
    assert found["hr"]["mean"] == pytest.approx(gain, abs=1e-5)
    assert (found["n"], found["owners"]) == (report["n"], 25)
    said = capsys.readouterr().out
    assert "against lists.popularity_half_life_hours=0.01, 100 cases of 25 shoppers:" in said
    assert "95 % interval" in said
    assert "McNemar's p" in said
    assert all(name in said for name in ("depth", "against", "markov", "2-3"))


def test_leave_one_out_scores_the_last_click_of_each_shopper(file: Write, tmp_path: Path) -> None:
    argv = ("--format", "sequences", "--protocol", "leave-one-out", "--learners", "markov")
    report = report_of(tmp_path, file(SESSIONS), *argv, "--k", "1")
    # Learned: mug; mug cup; cup. Lists: after mug cup, after cup pot, never learned.
    assert (report["n"], report["learners"]["markov"]["hr@1"]) == (
        3,
        pytest.approx(1 / 3, abs=1e-6),
    )


def test_plain_gzip_and_standard_input_give_the_same_scores(
    file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    argv = ("--format", "sequences", "--learners", "markov,sr")
    plain = report_of(tmp_path, file(SESSIONS), *argv)
    packed = report_of(tmp_path, file(gzip.compress(SESSIONS.encode()), "log.gz"), *argv)
    read_end, write_end = os.pipe()
    os.write(write_end, SESSIONS.encode())
    os.close(write_end)
    with os.fdopen(read_end) as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        assert plain == packed == report_of(tmp_path, "-", *argv)


def test_a_warm_file_is_learned_and_not_scored(file: Write, tmp_path: Path) -> None:
    header = "user_id,item_id,timestamp\n"
    first = file(header + "ann,mug,1\nann,cup,2\nbob,mug,3\n", "first")
    second = file(header + "bob,cup,4\n", "second")
    argv = ("--format", "interactions", "--known", "--learners", "markov", "--warm", first)
    report = report_of(tmp_path, second, *argv)
    assert (report["n"], report["learners"]["markov"]["hr@20"]) == (1, 1.0)


def test_bad_records_are_reported_and_the_others_are_scored(
    file: Write, tmp_path: Path, capsys: Capture
) -> None:
    log = file("SessionId\tItemId\tTime\n1\t7\t1396860669\n1\t7\n1\t8\t1396860670\n")
    argv = ("--format", "yoochoose", "--known", "--learners", "markov")
    assert report_of(tmp_path, log, *argv)["n"] == 1
    assert capsys.readouterr().err == (
        f"penstock: {log}: set aside 1 of its records"
        " (schema_violation, expected 3 columns, found 2, line 3)\n"
    )


def test_the_plot_is_a_png(file: Write, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    argv = [file(SESSIONS), "--format", "sequences", "--learners", "markov,sr"]
    assert main([*argv, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


SEQUENCES = ["--format", "sequences", "--learners", "markov"]
BLEND = ["--format", "sequences", "--learners", "blend"]
SPLIT = [*SEQUENCES, "--protocol", "split"]


@pytest.mark.parametrize(
    ("content", "argv", "said"),
    [
        ("", SEQUENCES, "{log} is empty: nothing to read"),
        ("mug\ncup\n", [*SEQUENCES, "--known"], "{log}: nothing to score:"),
        ("ann,mug,1\n", SEQUENCES, "{log}: line 1 is no session of `sequences`"),
        (b"mug \xff\n", SEQUENCES, "{log}: line 1 is not UTF-8"),
        ("mug cup", ["--format", "interactions"], "{log}: the first line lacks item_id,"),
        (
            "user_id,item_id,timestamp\nann,mug,noon\n",
            ["--format", "interactions"],
            "{log}: line 2 cannot be read (could not convert string to float: 'noon')",
        ),
        (
            "user_id,item_id,timestamp\nann,,1\n",
            ["--format", "interactions"],
            "{log}: line 2 cannot be read (an id is empty)",
        ),
        (
            "user_id,item_id,timestamp,event_type\nann,mug,1,sneeze\n",
            ["--format", "interactions"],
            "{log}: line 2 cannot be read (event_type sneeze is not known)",
        ),
        ("user_id,item_id,timestamp\nann\n", ["--format", "interactions"], "{log}: line 2"),
        (
            "user_id,item_id,timestamp,rating\nann,mug,1,nan\n",
            ["--format", "interactions"],
            "{log}: line 2 cannot be read (rating nan is not a number from 0 up)",
        ),
        (
            "user_id,item_id,timestamp\nann,mug,1396860669277000\n",
            ["--format", "interactions"],
            "{log}: line 2 cannot be read (timestamp 1396860669277000 is not in seconds)",
        ),
        (
            f"user_id,item_id,timestamp\nann,{'m' * 200_000},1\n",
            ["--format", "interactions"],
            "{log}: line 2 cannot be read (field larger than field limit (131072))",
        ),
        ("{{}}\n", ["--format", "rees46"], "{log}: not in format rees46"),
        ("mug cup\n", ["--format", "penstock"], "{log}: set aside 1 of its records (not_json, "),
        (SESSIONS, [*SPLIT, "--cases", "{log}"], "{log}: line 1 is no case"),
        (SESSIONS, [*SPLIT, "--cases", "nowhere"], "no such file: nowhere"),
        (SESSIONS, SPLIT, "--protocol split and --cases FILE need each other"),
        (SESSIONS, [*SEQUENCES, "--cases", "{log}"], "--protocol split and --cases FILE need"),
        (SESSIONS, [*SPLIT, "--cases", "{log}", "--warm", "{log}"], "--warm is for --protocol"),
        (SESSIONS, [*SEQUENCES, "--warm", "{log}"], "--warm needs times, which `sequences` lacks"),
        (SESSIONS, [*SEQUENCES, "--by", "moon"], "--by moon: choose from depth, shopper, item, hour"),
        (SESSIONS, [*SEQUENCES, "--against-set", "lists.k=9"], "--against compares the blend:"),
        (SESSIONS, [*BLEND, "--against-set", "rfm.enabled=false"], "rfm.enabled=false has the same"),
        (SESSIONS, [*BLEND, "--against-set", "lists.weights.purchase=9"], "lists.weights cannot be"),
        (SESSIONS, [*SEQUENCES, "--k", "0"], "--k 0: a list holds 1 to 100 items"),
        (SESSIONS, [*SEQUENCES, "--learners", "oracle"], "--learners oracle: choose from popularity"),
        (SESSIONS, [*SEQUENCES, "--report", "no/where"], "cannot write no/where: make the directory"),
        (SESSIONS, [*SEQUENCES, "--set", "lists.q=1"], "config.yaml, --set lists.q=1: "),
    ],
)  # fmt: skip
def test_every_wrong_option_is_one_error_line(
    file: Write, capsys: Capture, content: str | bytes, argv: list[str], said: str
) -> None:
    log = file(content)
    assert main([log, *(arg.format(log=log) for arg in argv)]) == 2
    error = capsys.readouterr().err
    assert said.format(log=log) in error
    assert error.startswith("penstock: ")
    assert error.count("\n") == 1


def test_a_missing_file_and_a_false_gzip_are_one_error_line(file: Write, capsys: Capture) -> None:
    assert main(["nowhere.csv", *SEQUENCES]) == 2
    assert capsys.readouterr().err == "penstock: no such file: nowhere.csv\n"
    false = file(SESSIONS, "log.gz")
    assert main([false, *SEQUENCES]) == 2
    assert capsys.readouterr().err.startswith(f"penstock: {false} is not gzip")


def test_without_matplotlib_the_error_names_the_extra_before_any_work(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert main(["nowhere.csv", *SEQUENCES, "--plot", str(tmp_path / "p.png")]) == 2
    said = (
        "penstock: --plot needs matplotlib, which is not installed: "
        f"{sys.executable} -m pip install 'penstock[plots]'\n"
    )
    assert capsys.readouterr().err == said
