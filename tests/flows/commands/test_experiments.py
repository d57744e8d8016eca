"""`penstock experiments` on files: the lines of each action, and one error line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from operators.experiments.assign import variant_of
from tests.operators.experiments import recount
from tests.operators.experiments.files import HOLDOUT, HOME, home
from tests.operators.experiments.made_up_shop import Shop, write_log

if TYPE_CHECKING:
    from tests.flows.commands.runs import Terminal


@pytest.fixture
def shop(terminal: Terminal) -> Terminal:
    """A folder with an experiments file and the log of a shop."""
    Path("experiments.yaml").write_text(HOME)
    write_log(Path("shop.jsonl"), Shop(home(), lift=0.08, seed=2).log(800))
    return terminal


def test_list_and_check(shop: Terminal) -> None:
    Path("experiments.yaml").write_text(HOME + HOLDOUT)
    assert shop.run("experiments", "list").out == [
        "home-diversity: slot home, control 50 %, varied 50 %, since 2024-12-01, revenue within 7 d",
        "holdout: 5 % are in no experiment",
    ]
    assert shop.run("experiments", "check").out == ["experiments.yaml: good (1 experiments)"]
    Path("none.yaml").write_text("")
    assert shop.run("experiments", "list", "--experiments", "none.yaml").out == ["no experiments"]


def test_assign_prints_the_variant_of_each_id(shop: Terminal) -> None:
    Path("experiments.yaml").write_text(HOME + "holdout: {share: 20 %}\n")
    ran = shop.run("experiments", "assign", "home-diversity", "v1", "v2", "v3", "v4", "v5", "v6")
    answers = dict(line.split(": ") for line in ran.out)
    assert list(answers) == ["v1", "v2", "v3", "v4", "v5", "v6"]
    assert "held out" in answers.values()
    for name, answer in answers.items():
        assert answer in ("held out", variant_of(home(), name))


def test_show_prints_and_reports_what_a_recount_finds(shop: Terminal) -> None:
    words = ("experiments", "show", "home-diversity", "shop.jsonl", "--format", "penstock")
    ran = shop.run(*words, "--report", "report.json")
    assert (ran.code, ran.err) == (0, [])
    rows = [json.loads(line) for line in Path("shop.jsonl").read_bytes().splitlines()]
    units, left_out = recount.units(rows, home())
    exposed = units["variant"].value_counts()
    values = recount.values(rows, home())
    complete = values["variant"].value_counts()
    assert ran.out[:2] == [
        "experiment home-diversity, seed home-diversity:2024-12-01",
        "question   Does more variety on the home page sell more?",
    ]
    assert ran.out[2].startswith("verdict    running: ")
    assert ran.out[3] == "units      " + ", ".join(
        f"{name} {exposed[name]} ({complete[name]} complete)" for name in ("control", "varied")
    )
    assert ran.out[5].startswith(
        f"left out   {left_out['both']} units saw both; exposures: {left_out['mismatch']} of another"
    )
    figures = [line for line in ran.out if not line.startswith(" ")][6:]
    assert [line.split(":")[0] for line in figures] == [
        "revenue (decides)",
        "conversion (guard)",
        "clicks (guard)",
    ]
    report = json.loads(Path("report.json").read_bytes())
    for metric in recount.METRICS:
        for name in ("control", "varied"):
            expected = int(values[values["variant"] == name][metric].sum())
            assert report["measured"]["sums"][metric][name]["y"] == expected
    assert report["verdict"]["state"] == "running"


def test_daily_prints_the_sequence_before_the_result(shop: Terminal) -> None:
    words = ("experiments", "show", "home-diversity", "shop.jsonl", "--format", "penstock")
    plain, daily = shop.run(*words), shop.run(*words, "--daily")
    assert daily.out[-len(plain.out) :] == plain.out
    lines = daily.out[: -len(plain.out)]
    assert len(lines) == 58
    assert lines[0].split()[:4] == ["2024-12-02", "00:00:00", "UTC", "0"]
    counted = [int(line.split()[3]) for line in lines]
    assert counted == sorted(counted)
    assert counted[6] == 0 < counted[10] < counted[-1]
    lift = next(line for line in plain.out if line.startswith("  lift")).split()[1].rstrip(",")
    assert f"varied {lift} (" in lines[-1]


def test_power_says_units_and_days(shop: Terminal) -> None:
    words = ("experiments", "power", "home-diversity", "shop.jsonl", "--format", "penstock")
    ran = shop.run(*words, "--days", "400")
    assert (ran.code, ran.err) == (0, [])
    assert [line.split()[0] for line in ran.out] == [
        "metric",
        "today",
        "to",
        "sequence",
        "fixed",
        "after",
    ]
    sequence, fixed = (int(line.split()[1].replace(",", "")) for line in ran.out[3:5])
    assert 1 < sequence / fixed < 3
    soon = shop.run(*words, "--days", "7")
    assert soon.out[-1] == "after 7 days the sequence finds nothing"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "other", "shop.jsonl"), "experiments.yaml: no experiment `other`: name one of"),
        (
            ("show", "home-diversity", "empty.jsonl"),
            "empty.jsonl: nothing to measure: no reco_view",
        ),
        (
            ("power", "home-diversity", "empty.jsonl"),
            "empty.jsonl: nothing to plan from: fewer than",
        ),
        (("power", "home-diversity", "shop.jsonl", "--days", "0"), "--days is how long the"),
        (
            ("show", "home-diversity", "shop.jsonl", "--report", "no/report.json"),
            "cannot write no/report.json: make the directory no first",
        ),
        (
            ("show", "home-diversity", "shop.jsonl", "--experiments", "no.yaml"),
            "no.yaml: No such file or directory: name a file with --experiments",
        ),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    shop: Terminal, words: tuple[str, ...], says: str
) -> None:
    write_log(
        Path("empty.jsonl"),
        [{"event_id": "e", "type": "page_view", "event_ts": 1_733_011_200_000, "user_id": "u"}],
    )
    ran = shop.run("experiments", *words, "--format", "penstock")
    assert (ran.code, ran.out, len(ran.err)) == (2, [], 1)
    assert says in ran.err[0]


def test_a_wrong_line_of_the_file_is_named(shop: Terminal) -> None:
    Path("experiments.yaml").write_text(HOME.replace("varied: 50 %", "varied: 40 %"))
    ran = shop.run("experiments", "check")
    assert (ran.code, ran.out) == (2, [])
    assert "experiments.yaml:5: home-diversity.variants: adds up to 90 %: make it" in ran.err[0]


def test_a_record_that_cannot_be_read_is_told(shop: Terminal) -> None:
    with Path("shop.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    ran = shop.run("experiments", "show", "home-diversity", "shop.jsonl", "--format", "penstock")
    assert ran.code == 0
    assert "shop.jsonl: set aside 1 of its records (not_json" in ran.err[0]
