"""The experiments file: a whole one, and what is said of each wrong line."""

from __future__ import annotations

import pytest

from operators.experiments.definitions import Decision, Experiment, Experiments
from operators.experiments.parser import parse_experiments
from state.errors import ConfigurationError
from state.times import DAY_MS
from tests.operators.experiments.files import HOLDOUT, HOME, START_MS


def test_a_whole_file() -> None:
    assert parse_experiments(HOME + HOLDOUT, "experiments.yaml") == Experiments(
        (
            Experiment(
                name="home-diversity",
                question="Does more variety on the home page sell more?",
                unit="visitor",
                slot="home",
                shares={"control": 5_000, "varied": 5_000},
                decide=Decision(
                    "revenue", 7 * DAY_MS, 0.02, 0.05, 20_000, 500_000_000, 60 * DAY_MS
                ),
                guard=("conversion", "clicks"),
                start_ms=START_MS,
            ),
        ),
        500,
    )


def test_what_may_be_left_out() -> None:
    text = """
    a:
      where: {slot: cart}
      variants: {off: 33.33 %, on: 66.67 %}
      decide: {metric: clicks, window: 30 min, least_effect: 0.5 %}
      start: 2024-01-01
      end: 2024-02-01
    """
    [found] = parse_experiments(text, "x").experiments
    assert (found.question, found.unit, found.guard) == ("", "visitor", ())
    assert found.decide == Decision("clicks", 30 * 60_000, 0.005)
    assert (found.control, found.seed) == ("off", "a:2024-01-01")
    assert [found.runs_at(found.start_ms - 1), found.runs_at(found.start_ms)] == [False, True]
    assert [found.runs_at(found.end_ms - 1), found.runs_at(found.end_ms)] == [True, False]


def test_an_empty_file_has_no_experiments() -> None:
    assert parse_experiments("# none yet\n", "x") == Experiments()


ANOTHER = HOME.replace("home-diversity:", "second:")


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("home-diversity:", "Home:", "1: Home: a name has small letters, digits and hyphens"),
        (
            "  question",
            "  set: {}\n  question",
            "2: home-diversity.set: an experiment has no `set`",
        ),
        (
            "  unit: visitor",
            "  unit: device",
            "3: home-diversity.unit: there is no `device`: it is",
        ),
        ("{slot: home}", "{slots: home}", "4: home-diversity.where.slots: `where:` has no `slots`"),
        ("  where: {slot: home}\n", "", "1: home-diversity: `where:` is missing"),
        ("control: 50 %", "control: 40 %", "5: home-diversity.variants: adds up to 90 %: make it"),
        ("control: 50 %", "control: half", "5: home-diversity.variants.control: is not a share"),
        ("control: 50 %", "control: 49.999 %", "variants.control: is finer than .01 %: round it"),
        (
            "{control: 50 %, varied: 50 %}",
            "{a: 100 %}",
            "5: home-diversity.variants: has one variant",
        ),
        ("{control: 50 %, varied: 50 %}", "{a: 100 %, b: 0 %}", "variants.b: is 0 %: take the"),
        ("varied: 50 %}", "Varied: 50 %}", "variants.Varied: a variant has small letters"),
        ("metric: revenue", "metric: revenues", "there is no `revenues` (did you mean `revenue`?)"),
        (
            "metric: revenue",
            "metric: clicks",
            "decide.cut: is an amount of revenue, and the metric",
        ),
        (
            "window: 7 d",
            "window: a week",
            "6: home-diversity.decide.window: `a week` is not a span",
        ),
        ("least_effect: 2 %", "least_effect: 0 %", "least_effect: is not a relative difference"),
        ("alpha: 0.05", "alpha: 5", "decide.alpha: is 5: write a number from 0.0001 to 0.2"),
        ("alpha: 0.05", "alpha: nan", "decide.alpha: is nan: write a number from"),
        ("tuned_to: 20000", "tuned_to: many", "decide.tuned_to: `many` is not a number"),
        ("[conversion, clicks]", "[revenue]", "8: home-diversity.guard[0]: `revenue` is there"),
        ("[conversion, clicks]", "[clicks, clicks]", "guard[1]: `clicks` is there already"),
        (
            "2024-12-01",
            "2024-13-01",
            "9: home-diversity.start: `2024-13-01` is not a day: write it",
        ),
        (
            "  start:",
            "  end: 2024-12-01\n  start:",
            "9: home-diversity.end: is not after the start",
        ),
        ("home-diversity:", "holdout: {share: 60 %}\nh:", "1: holdout.share: is more than half"),
        (
            "home-diversity:",
            f"{ANOTHER}home-diversity:",
            "10: home-diversity: runs on the slot `home` while `second` does",
        ),
    ],
)
def test_an_error_names_the_line_and_what_to_write(was: str, now: str, says: str) -> None:
    assert was in HOME
    with pytest.raises(ConfigurationError) as caught:
        parse_experiments(HOME.replace(was, now), "experiments.yaml")
    assert str(caught.value).startswith("experiments.yaml:")
    assert says in str(caught.value)


def test_experiments_on_one_slot_may_follow_each_other() -> None:
    first = ANOTHER.replace("start: 2024-12-01", "start: 2024-11-01\n  end: 2024-12-01")
    for text in (first + HOME, HOME + first):
        assert len(parse_experiments(text, "x").experiments) == 2
    elsewhere = ANOTHER.replace("slot: home", "slot: cart")
    assert len(parse_experiments(HOME + elsewhere, "x").experiments) == 2
