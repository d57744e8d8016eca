"""A log of our own exploration says what lists that were not shown would have brought.

A shop whose clicks follow a known truth shows lists of the real recommender with one place explored, and
logs what was shown there with its chance. What `penstock evaluate` makes of that log is held against
the truth: of the same lists without exploration, and of those of another configuration.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest

from flows.commands.evaluate import main
from operators.evaluation.competitors import BLEND, OTHER_CONFIGURATION
from operators.evaluation.product_recommender import ProductRecommender
from operators.recommend.standalone import StandaloneRecommender
from state import config_lists
from state.events import Event, Item, Reco
from state.interactions import VIEW, EventColumns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from operators.evaluation.competitors import Request
    from operators.evaluation.results import Lists

NOW_MS = 1_700_000_000_000
K, PLACE, SHARE = 6, 5, 0.6
ITEMS, KINDS = 40, 5
SHOPPERS, VISITS = 150, 6
VISIT_MS = 2 * 3_600_000
OTHER = "lists.popularity_half_life_hours=1"


def taste(looked_at: str, shown: str) -> float:
    """The chance that who just looked at one item clicks the other in a list."""
    one, other = int(looked_at[1:]), int(shown[1:])
    return 0.05 + 0.35 * (one % KINDS == other % KINDS) + 0.3 * (other < 6)


def log_of(seed: int) -> list[Event]:
    """Visits of two looks and a list; who clicks in the list does nothing more."""
    draw, log = random.Random(seed), list[Event]()
    exploration = config_lists.Exploration(share=SHARE, position=PLACE, seed=seed)
    recommender = StandaloneRecommender.from_config(
        config_lists.Lists(k=K, exploration=exploration)
    )
    for visit in range(VISITS):
        looks = []
        for n in range(SHOPPERS):
            kind = draw.randrange(KINDS)
            items = [f"i{kind + KINDS * int(draw.random() ** 2 * ITEMS / KINDS)}" for _ in "ab"]
            looks.append((f"s{n}", items))
        begin_ms = NOW_MS + visit * VISIT_MS
        seen = [(who, item) for step in (0, 1) for who, items in looks for item in [items[step]]]
        recommender.learn(_views(seen, begin_ms))
        for n, (who, item) in enumerate(seen):
            log.append(_event("item_view", who, begin_ms + n, item))
        now_ms = begin_ms + 2 * SHOPPERS
        names = [who for who, _ in looks]
        lists = recommender.recommend(names, now_ms).json(now_ms, "1")
        for n, ((who, items), text) in enumerate(zip(looks, lists, strict=True)):
            told = orjson.loads(text)["explore"]
            reco = Reco(position=PLACE, propensity=told["propensity"])
            at_ms = now_ms + n
            log.append(_event("reco_view", who, at_ms, told["item"], reco))
            if draw.random() < taste(items[1], told["item"]):
                log.append(_event("reco_click", who, at_ms + 1, told["item"], reco))
    return log


def _views(seen: Sequence[tuple[str, str]], begin_ms: int) -> EventColumns:
    n = len(seen)
    who, items = ([one[at] for one in seen] for at in (0, 1))
    at_ms, nothing = [begin_ms + place for place in range(n)], [None] * n
    return EventColumns(who, items, [VIEW] * n, [1.0] * n, at_ms, [begin_ms] * n, nothing, nothing)


def _event(kind: Any, who: str, at_ms: int, item: str, reco: Reco | None = None) -> Event:
    name = f"{kind}-{who}-{at_ms}"
    return Event(name, kind, at_ms, anonymous_id=who, items=(Item(item),), reco=reco)


@pytest.mark.slow
def test_the_log_of_our_own_exploration_says_what_other_lists_would_have_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths: dict[str, list[float]] = {}
    real = ProductRecommender.recommend

    def top(self: ProductRecommender, requests: Sequence[Request], k: int) -> Sequence[Lists]:
        """What each policy would have shown, and how often that is clicked."""
        answers = real(self, requests, k)
        for request, lists in zip(requests, answers, strict=True):
            ids = self._clicks.items.ids
            for name in {BLEND, OTHER_CONFIGURATION} & set(lists):
                chosen = ids[lists[name][PLACE - 1]]
                truths.setdefault(name, []).append(taste(ids[request.session[-1]], chosen))
        return answers

    monkeypatch.setattr(ProductRecommender, "recommend", top)
    held: Counter[tuple[str, str]] = Counter()
    supports: dict[str, list[float]] = {BLEND: [], OTHER_CONFIGURATION: []}
    for seed in range(4):
        truths.clear()
        log, report = tmp_path / f"{seed}.jsonl", tmp_path / f"{seed}.json"
        log.write_bytes(b"\n".join(msgspec.json.encode(one) for one in log_of(seed)))
        counted = ("--format", "penstock", "--protocol", "counterfactual", "--learners", BLEND)
        ours = ("--k", str(K), "--set", f"lists.k={K}", "--set", "lists.exploration.position=5")
        tried = ("--set", f"lists.exploration.share={SHARE}", "--against-set", OTHER)
        assert main([str(log), *counted, *ours, *tried, "--report", str(report)]) == 0
        told = orjson.loads(report.read_bytes())
        for name, chances in truths.items():
            truth, found = sum(chances) / len(chances), told["policies"][name]
            supports[name].append(found["support"]["mean"])
            for estimator in ("ips", "snips", "dr"):
                one = found[estimator]
                held[name, estimator] += one["low"] <= truth <= one["high"]
    print(held, supports)
    # Of the same lists 4 intervals each hold it 95 times in 100.
    assert min(held[BLEND, one] for one in ("ips", "snips", "dr")) >= 3
    assert sum(supports[BLEND]) / 4 == pytest.approx(1, abs=0.1)
    # Much of what the other one lists was never tried: it says so, and the normalised one still holds.
    assert max(supports[OTHER_CONFIGURATION]) < 1
    assert held[OTHER_CONFIGURATION, "snips"] >= 3
