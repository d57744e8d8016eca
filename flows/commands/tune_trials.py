"""Evaluates one choice of settings for `penstock tune`, on the first part of a log or on the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flows.commands.evaluation_files import session_gap_ms
from flows.commands.options import load_settings
from operators.evaluation.comparison import compare
from operators.evaluation.competitors import BLEND, OTHER_CONFIGURATION, ProtocolOptions
from operators.evaluation.prequential import prequential
from operators.evaluation.product_recommender import ProductRecommender
from operators.evaluation.search_space import EVENT_TYPES
from operators.recommend.standalone import StandaloneRecommender
from state import config_loader
from state.errors import DataError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from operators.evaluation.clicks import ClickStream
    from operators.evaluation.comparison import Comparison
    from operators.evaluation.competitors import Competitor
    from state.config import Settings

    Choice = Mapping[str, float]

LISTS_PER_BATCH = 256
"""Lists computed together: ten times as fast as one by one, and HR changes by less than .003."""
WARM_SHARE = 0.2
"""Share of the clicks of a search that is learned and not scored."""
CASES_MIN = 200


class TrialEvaluation:
    """Evaluates settings on the first part of the clicks, or on the rest."""

    def __init__(self, args: argparse.Namespace, clicks: ClickStream, *, is_log: bool) -> None:
        self._args = args
        self._is_log = is_log
        self._current = load_settings(args)
        self._search_clicks = round(len(clicks) * (1 - args.confirm))
        self._clicks = clicks
        self._rules = ProtocolOptions(
            k=args.k,
            unseen=args.unseen,
            known=True,
            session_gap_ms=session_gap_ms(args.format, self._current),
            lists_at_once=LISTS_PER_BATCH,
        )

    def evaluate(self, choice: Choice) -> float:
        """Return the metric of some settings on the first part. Raises DataError if it is too small."""
        clicks = self._clicks.prefix_until(
            self._search_clicks, round(self._search_clicks * WARM_SHARE)
        )
        outcome = prequential(clicks, [self._competitor(clicks, choice, BLEND)], self._rules)
        if len(outcome) < CASES_MIN:
            raise DataError(
                f"{self._args.file}: {len(outcome)} cases to search on, {CASES_MIN} are the least"
            )
        scores = outcome.scores(catalogue=len(clicks.items))
        return scores[BLEND][f"{self._args.metric}@{self._args.k}"]

    def confirm(self, choice: Choice) -> Comparison:
        """Compare those settings with the current ones on the rest, which the search has not used."""
        clicks = self._clicks.prefix_until(len(self._clicks), self._search_clicks)
        competitors = [
            self._competitor(clicks, choice, BLEND),
            self._competitor(clicks, {}, OTHER_CONFIGURATION),
        ]
        outcome = prequential(clicks, competitors, self._rules)
        if len(outcome) < CASES_MIN:
            raise DataError(
                f"{self._args.file}: {len(outcome)} cases to confirm on, {CASES_MIN} are the least:"
                " raise --confirm"
            )
        return compare(outcome, BLEND, OTHER_CONFIGURATION)

    def _competitor(self, clicks: ClickStream, choice: Choice, name: str) -> Competitor:
        lists = self._settings(choice).lists
        if self._is_log:
            weights = msgspec.structs.asdict(lists.weights)
            clicks = clicks.with_weights([weights[one] for one in EVENT_TYPES])
        lists = msgspec.structs.replace(lists, k=self._args.k, allow_repeats=not self._args.unseen)
        return ProductRecommender(StandaloneRecommender.from_config(lists), clicks, blend_name=name)

    def _settings(self, choice: Choice) -> Settings:
        overrides = tuple(f"{key}={value}" for key, value in choice.items())
        return config_loader.load(self._args.config, overrides=(*self._args.set, *overrides))
