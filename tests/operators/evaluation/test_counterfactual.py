"""Counterfactual evaluation, in simulated shops with a known truth."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from flows.commands.evaluate import main
from operators.evaluation.clicks import ClickStream, RawClick, collect
from operators.evaluation.competitors import ProtocolOptions
from operators.evaluation.counterfactual import Counterfactual, counterfactual
from operators.evaluation.impressions import REWARD_MS, Impression, ImpressionLog
from state.events import Event, Item, Reco

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from operators.evaluation.clicks import StreamClick
    from operators.evaluation.competitors import Request
    from operators.evaluation.sessions import ClickSession
    from state.events import EventType

PLACE = 2
ARMS = ("mug", "cup", "pot", "tin")
CHANCES = {"tea": (0.1, 0.3, 0.15, 0.02), "coffee": (0.35, 0.05, 0.1, 0.2)}
"""How often each arm is clicked by whom."""
POLICIES = {
    "best": {"tea": "cup", "coffee": "mug"},
    "worst": {"tea": "tin", "coffee": "cup"},
    "always mug": {"tea": "mug", "coffee": "mug"},
}
EXPLORED = 0.3


class Policies:
    """Lists that depend on what the shopper looked at last."""

    def __init__(self, clicks: ClickStream) -> None:
        self._clicks = clicks

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        pass

    def recommend(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        find, ids = self._clicks.items.get, self._clicks.items.ids
        return [
            {
                name: [find("lid"), find(choice[ids[request.session[-1]]])]
                for name, choice in POLICIES.items()
            }
            for request in requests
        ]


def logged(seed: int, shoppers: int = 150, views: int = 5) -> tuple[ClickStream, list[Impression]]:
    """A shop that shows one arm mostly and the others now and then; reward by chance."""
    draw = random.Random(seed)
    clicks = [RawClick("a visitor", item, 0) for item in (*ARMS, "lid")]
    shown = []
    for n in range(shoppers):
        for view in range(views):
            at_ms = 1 + n * 1000 + view * 10
            taste = draw.choice(["tea", "coffee"])
            clicks.append(RawClick(f"s{n}", taste, at_ms))
            liked = {"tea": "pot", "coffee": "mug"}[taste]
            explored = draw.random() < EXPLORED
            arm = draw.choice(ARMS) if explored else liked
            chance = EXPLORED / len(ARMS) + (1 - EXPLORED) * (arm == liked)
            reward = draw.random() < CHANCES[taste][ARMS.index(arm)]
            shown.append(Impression(f"s{n}", arm, PLACE, chance, at_ms + 1, int(reward)))
    return collect(clicks), shown


def truth(clicks: ClickStream, choice: dict[str, str]) -> float:
    """What a policy would have brought on the very same moments."""
    tastes = [ids for item in clicks.item if (ids := clicks.items.ids[item]) in CHANCES]
    means = [CHANCES[taste][ARMS.index(choice[taste])] for taste in tastes]
    return sum(means) / len(means)


def estimates(seed: int) -> tuple[dict[str, Counterfactual], dict[str, float]]:
    clicks, shown = logged(seed)
    found = counterfactual(clicks, shown, [Policies(clicks)], ProtocolOptions(k=5))
    return found, {name: truth(clicks, choice) for name, choice in POLICIES.items()}


def test_intervals_hold_the_true_reward() -> None:
    held = dict.fromkeys(("ips", "snips", "dr", "support"), 0)
    widths = dict.fromkeys(held, 0.0)
    for seed in range(12):
        found, true = estimates(seed)
        for name, value in true.items():
            for estimator in held:
                one = getattr(found[name], estimator)
                held[estimator] += one.low <= (1 if estimator == "support" else value) <= one.high
                widths[estimator] += (one.high - one.low) * (name == "best")
    # Of 36, 34 are expected; fewer than 27 come once in ten thousand.
    assert min(held.values()) >= 27, held
    # Where much is clicked the plain estimate is the widest.
    assert max(widths["dr"], widths["snips"]) < widths["ips"]


def test_the_better_policy_is_found_from_what_was_shown() -> None:
    found, true = estimates(seed=3)
    assert found["best"].gain.low > 0 > found["worst"].gain.high
    assert true["best"] > true["always mug"] > true["worst"]


def test_a_policy_with_items_that_are_never_shown_has_no_support() -> None:
    clicks, shown = logged(seed=1)
    only_mug = [row for row in shown if row.item != "cup"]
    found = counterfactual(clicks, only_mug, [Policies(clicks)], ProtocolOptions(k=5))
    assert found["best"].support.high < 1
    assert found["best"].matched < found["always mug"].matched


def event(kind: EventType, at_ms: int, *items: Item, **reco: Any) -> Event:
    told = Reco(**reco) if reco else None
    return Event(f"{kind} {at_ms}", kind, at_ms, anonymous_id="ann", items=items, reco=told)


def test_an_impression_has_its_propensity_and_its_reward() -> None:
    log = ImpressionLog()
    mug, cup = Item("mug", position=1), Item("cup", position=2)
    shown = {"position": 2, "propensity": 0.25}
    for one in (
        event("reco_view", 10, mug, cup, **shown),
        event("reco_view", 20, Item("pot"), **shown),
        event("reco_view", 30, mug, cup, position=2),
        event("reco_view", 40, mug, cup, propensity=0.5),
        event("item_view", 9, Item("cup")),
        event("reco_click", 50, Item("cup")),
        event("purchase", 20 + REWARD_MS, Item("pot")),
    ):
        log.observe(one, "ann")
    assert log.rows() == [
        Impression("ann", "cup", 2, 0.25, 10, reward=1),
        Impression("ann", "pot", 2, 0.25, 20, reward=0),
    ]


def test_the_command_estimates_from_a_recorded_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(2)
    lines: list[bytes] = []

    def tell(kind: str, at_ms: int, who: str, item: str, **more: Any) -> None:
        said = {"event_id": f"{len(lines)}", "type": kind, "event_ts": at_ms, "anonymous_id": who}
        lines.append(orjson.dumps(said | {"items": [{"item_id": item}]} | more))

    for n in range(120):
        at_ms = 1_700_000_000_000 + n * 60_000
        tell("item_view", at_ms, f"s{n}", "cup" if n % 3 == 1 else "mug")
        item, chance = ("mug", 0.8) if draw.random() < 0.8 else ("cup", 0.2)
        reco = {"reco": {"position": 1, "propensity": chance}}
        tell("reco_view", at_ms + 1, f"s{n}", item, **reco)
        if item == "mug":
            tell("reco_click", at_ms + 2, f"s{n}", item)
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(lines))
    argv = [str(log), "--format", "penstock", "--protocol", "counterfactual"]
    argv += ["--learners", "popularity,blend", "--report", str(tmp_path / "report.json")]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "120 items shown with a known chance" in said
    report = orjson.loads((tmp_path / "report.json").read_bytes())
    popularity = report["policies"]["popularity"]
    assert popularity["snips"]["mean"] == pytest.approx(1.0, abs=0.05)
    assert popularity["ips"]["mean"] == pytest.approx(1.0, abs=0.2)
    assert {"blend", "live-popularity"} <= set(report["policies"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--format", "penstock"], "nothing to estimate from: no reco_view with reco.propensity"),
        (["--format", "sequences"], "--protocol counterfactual needs reco_view events"),
        (["--format", "penstock", "--known"], "--known are not for --protocol counterfactual"),
    ],
)
def test_a_user_error_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    log = tmp_path / "log"
    log.write_bytes(
        b'{"event_id":"1","type":"item_view","event_ts":1600000000000,"user_id":"ann",'
        b'"items":[{"item_id":"mug"}]}\n'
    )
    assert main([str(log), *argv, "--protocol", "counterfactual"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
