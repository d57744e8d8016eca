"""`penstock tune`: writes settings only if they are better on clicks that the search never used."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from flows.commands import cli, extras
from flows.commands.tune_estimators import PROPOSED
from operators.evaluation.search_space import EVENT_TYPES, SEARCH_SPACE
from operators.synthetic.traffic import encode_lines, generate_events
from state import config_loader
from state.config import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
HOUR_S = 3600


def said(capsys: Capture, *argv: str) -> tuple[int, str]:
    code = cli.main(["tune", *argv, "--format", "interactions"])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def log(folder: Path, hours: int, *, drifts: bool) -> str:
    """A shop where everybody comes for what is in fashion; with `drifts` that changes."""
    draw = random.Random(4)
    lines = ["user_id,item_id,timestamp"]
    for hour in range(hours):
        hot = [f"hot {(7 * hour if drifts else 0) + n}" for n in range(3)]
        for n in range(40):
            at_s = hour * HOUR_S + n * 80
            lines.append(f"s{hour}-{n},entry {draw.randrange(8)},{at_s}")
            lines.append(f"s{hour}-{n},{draw.choice(hot)},{at_s + 250}")
    path = folder / "clicks.csv"
    path.write_text("\n".join(lines))
    return str(path)


def test_every_searched_key_exists_and_its_range_has_the_default() -> None:
    for key, of in SEARCH_SPACE.items():
        value: object = Settings()
        for name in key.split("."):
            value = getattr(value, name)
        assert isinstance(value, int if of.whole else float), key
        assert of.low < value < of.high, key
        assert of.event_type in (*EVENT_TYPES, "")
        for edge in (of.low, of.high):
            config_loader.load(
                overrides=(f"{key}={int(edge) if of.whole else edge}",), environment={}
            )


@pytest.mark.slow
def test_confirmed_settings_are_written_and_can_be_loaded(tmp_path: Path, capsys: Capture) -> None:
    found = tmp_path / "found.yaml"
    argv = [log(tmp_path, 60, drifts=True), "--k", "4", "--trials", "10", "--write", str(found)]
    code, text = said(capsys, *argv)
    assert code == 0, text
    assert "better beyond chance" in text
    tuned = config_loader.load(found, environment={}).lists
    assert tuned.popularity_half_life_hours < Settings().lists.popularity_half_life_hours
    assert tuned.weights == Settings().lists.weights, "a key that can not matter is not searched"


@pytest.mark.slow
def test_nothing_is_written_if_nothing_is_better(tmp_path: Path, capsys: Capture) -> None:
    found = tmp_path / "found.yaml"
    argv = [log(tmp_path, 30, drifts=False), "--k", "4", "--trials", "4", "--write", str(found)]
    code, text = said(capsys, *argv)
    assert code == 1
    assert "nothing that was tried is better" in text or "nothing is written" in text
    assert not found.exists()


def test_a_search_continues_its_study_and_refuses_another(tmp_path: Path, capsys: Capture) -> None:
    study = ("--study", str(tmp_path / "study"))
    clicks = log(tmp_path, 12, drifts=False)
    _, first = said(capsys, clicks, "--trials", "1", *study)
    assert "1 mrr@20" in first
    _, second = said(capsys, clicks, "--trials", "2", *study)
    assert "2 mrr@20" in second
    assert "1 mrr@20" not in second
    _, third = said(capsys, clicks, "--trials", "2", *study)
    assert "mrr@20 0" not in third.replace("MRR@20", ""), "there is nothing left to try"
    code, other = said(capsys, clicks, "--trials", "3", "--metric", "hr", *study)
    assert code == 2
    assert "holds the trials of another file, configuration or option" in other


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (("--trials", "0"), "--trials 0: at least 1"),
        (("--confirm", "1"), "--confirm 1.0: a share from 0.05 to 0.9"),
        (("--k", "0"), "--k 0: a list holds 1 to 100 items"),
        (("--write", "no/where.yaml"), "cannot write no/where.yaml: make the directory no first"),
        ((), "6 cases to search on, 200 are the least"),
    ],
)
def test_every_wrong_option_is_one_error_line(
    tmp_path: Path, capsys: Capture, argv: Sequence[str], error: str
) -> None:
    few = tmp_path / "few.csv"
    few.write_text("user_id,item_id,timestamp\n" + "".join(f"a,i{n % 3},{n}\n" for n in range(12)))
    code, text = said(capsys, str(few), *argv)
    assert code == 2
    assert error in text


def test_without_optuna_the_error_names_the_extra(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    code, text = said(capsys, "nowhere.csv")
    assert (code, text) == (
        2,
        "penstock: penstock tune needs optuna, which is not installed: "
        f"{sys.executable} -m pip install 'penstock[tune]'\n",
    )


def shop(folder: Path, events_per_s: float) -> str:
    """The events of a synthetic shop."""
    path = folder / "events.jsonl"
    generated = generate_events(events=2400, shoppers=250, items=50, events_per_s=events_per_s)
    path.write_bytes(b"\n".join(encode_lines(generated)))
    return str(path)


def chosen(capsys: Capture, *argv: str) -> tuple[int, list[str]]:
    code = cli.main(["tune", *argv, "--format", "penstock"])
    captured = capsys.readouterr()
    return code, (captured.out + captured.err).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("section", ["clusters", "propensity"])
def test_an_estimator_is_chosen_on_the_first_part_and_written_if_it_is_better_later_too(
    tmp_path: Path, capsys: Capture, section: str
) -> None:
    found = tmp_path / "found.yaml"
    days = ("horizon_days=2", "churn_days=2", "labels_min=10", "sampled_share=1")
    kind = "river.cluster.KMeans" if section == "clusters" else "river.dummy.PriorClassifier"
    code, lines = chosen(
        capsys,
        shop(tmp_path, 0.002),
        *("--estimators", section, "--write", str(found), "--candidate", f"{kind}()"),
        *(word for one in days for word in ("--set", f"propensity.{one}")),
    )
    measure = "silhouette" if section == "clusters" else "log loss"
    tried = [line.split(" s  ")[-1] for line in lines if line.startswith(measure)]
    candidates = ["ours", *PROPOSED[section][1:], f"{kind}()"]
    assert tried[: len(candidates)] == candidates
    later = tried[len(candidates) :]
    if code == 0:
        text = getattr(config_loader.load(found, environment={}), section).estimator
        assert ["ours", text] == later
        assert text in candidates
    else:
        assert lines[-1] == "no gain that lasts: nothing is written"
        assert not found.exists()
        assert later[:1] in ([], ["ours"])


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (
            ("--estimators", "clusters", "--candidate", "river.cluster.KMean()"),
            "did you mean river.cluster.KMeans?",
        ),
        (
            ("--estimators", "propensity", "--candidate", "river.cluster.KMeans()"),
            "KMeans is not a classifier",
        ),
    ],
)
def test_a_candidate_that_cannot_be_used_is_one_error_line(
    tmp_path: Path, capsys: Capture, argv: Sequence[str], error: str
) -> None:
    code, lines = chosen(capsys, shop(tmp_path, 0.2), *argv)
    assert code == 2
    assert error in lines[-1]


def test_estimators_are_chosen_on_events(tmp_path: Path, capsys: Capture) -> None:
    code, text = said(capsys, log(tmp_path, 2, drifts=False), "--estimators", "clusters")
    assert code == 2
    assert "--estimators needs events" in text
