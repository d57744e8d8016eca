"""Runs the protocols of `penstock evaluate`: the competitors, their options and the progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.progress import Progress

from flows.commands.evaluation_files import errors_with_file_name, session_gap_ms
from flows.commands.evaluation_options import split_words
from flows.process.printing import create_console
from operators.evaluation.baselines import BASELINES, BaselineCompetitor
from operators.evaluation.competitors import BLEND, OTHER_CONFIGURATION, ProtocolOptions
from operators.evaluation.formats import cases
from operators.evaluation.held_out import leave_one_out, split
from operators.evaluation.prequential import prequential
from operators.evaluation.product_recommender import ProductRecommender
from operators.recommend.standalone import StandaloneRecommender

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from flows.sources.files import LogFile
    from operators.evaluation.clicks import ClickStream, StreamClick
    from operators.evaluation.competitors import Competitor, Request
    from operators.evaluation.results import EvaluationResult
    from operators.evaluation.sessions import ClickSession
    from state.config import Settings
    from state.config_lists import Lists

PROGRESS_CLICKS = 500


def run_protocol(
    args: argparse.Namespace,
    settings: Settings,
    other_lists: Lists | None,
    clicks: ClickStream,
    case_file: LogFile | None,
) -> EvaluationResult:
    """Score all competitors by the protocol of the options. Raises UserError."""
    options = protocol_options(args, settings)
    competitors = competitors_of(args, clicks, settings, other_lists)
    terminal = create_console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        competitors.append(ProgressReporter(bar, len(clicks)))
        if case_file is None:
            protocol = prequential if args.protocol == "prequential" else leave_one_out
            return protocol(clicks, competitors, options)
        named_cases = errors_with_file_name(case_file.name, cases(case_file.lines()))
        return split(clicks, named_cases, competitors, options)


def competitors_of(
    args: argparse.Namespace, clicks: ClickStream, settings: Settings, other_lists: Lists | None
) -> list[Competitor]:
    """Return the learners to score: baselines, the blend, and the blend of another configuration."""
    names = split_words(args.learners)
    competitors: list[Competitor] = [
        BaselineCompetitor(name, clicks.scored_kind) for name in names if name in BASELINES
    ]
    if BLEND in names:
        competitors.append(ProductRecommender(_recommender(args, settings.lists), clicks))
    if other_lists:
        competitors.append(
            ProductRecommender(
                _recommender(args, other_lists), clicks, blend_name=OTHER_CONFIGURATION
            )
        )
    return competitors


def _recommender(args: argparse.Namespace, lists: Lists) -> StandaloneRecommender:
    adjusted = msgspec.structs.replace(lists, k=args.k, allow_repeats=not args.unseen)
    return StandaloneRecommender.from_config(adjusted)


def protocol_options(args: argparse.Namespace, settings: Settings) -> ProtocolOptions:
    """Return the options of a protocol."""
    gap_ms = session_gap_ms(args.format, settings)
    return ProtocolOptions(k=args.k, unseen=args.unseen, known=args.known, session_gap_ms=gap_ms)


class ProgressReporter:
    """A competitor that learns and lists nothing: it shows the progress of the others."""

    def __init__(self, bar: Progress, clicks: int) -> None:
        self._bar = bar
        self._task = bar.add_task("clicks", total=clicks)
        self._learned = 0

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        """Count a click."""
        self._learned += 1
        if self._learned % PROGRESS_CLICKS == 0:
            self._bar.update(self._task, completed=self._learned)

    def recommend(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        """Return no list."""
        return [{} for _ in requests]
