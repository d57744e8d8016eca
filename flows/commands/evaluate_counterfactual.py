"""`penstock evaluate --protocol counterfactual`: estimates from the explored positions of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from flows.commands import evaluation_tables as tables
from flows.commands.evaluation_files import read_clicks
from flows.commands.evaluation_run import ProgressReporter, competitors_of, protocol_options
from flows.commands.output import write_file
from flows.process.printing import create_console
from operators.evaluation.counterfactual import counterfactual
from operators.evaluation.impressions import ImpressionLog
from state.errors import DataError

if TYPE_CHECKING:
    import argparse

    from state.config import Settings
    from state.config_lists import Lists


def estimate(args: argparse.Namespace, settings: Settings, other_lists: Lists | None) -> int:
    """Estimate the clicks that each policy would have got at the explored positions.

    Raises UserError.
    """
    log = ImpressionLog()
    clicks = read_clicks((*args.warm, args.file), args.format, settings, log)
    impressions = log.rows()
    if not impressions:
        raise DataError(
            f"{args.file}: nothing to estimate from: no reco_view with reco.propensity and"
            " reco.position; see docs/evaluate.md"
        )
    ours = msgspec.structs.replace(settings, lists=_without_exploration(settings.lists))
    competitors = competitors_of(
        args, clicks, ours, other_lists and _without_exploration(other_lists)
    )
    terminal = create_console(stderr=True)
    with (
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar,
        threadpool_limits(1),
    ):
        competitors.append(ProgressReporter(bar, len(clicks)))
        estimates = counterfactual(
            clicks, impressions, competitors, protocol_options(args, settings)
        )
    reward = sum(row.reward for row in impressions) / len(impressions)
    if args.report:
        write_file(args.report, tables.counterfactual_report(len(impressions), reward, estimates))
    create_console().print(tables.counterfactual_table(estimates))
    create_console().print(
        f"{len(impressions):,} items shown with a known chance; {reward:.4f} of them were clicked"
    )
    for name in sorted(name for name, one in estimates.items() if one.support.high < 1):
        create_console().print(
            f"{name}: much of what it names was never shown: only snips says anything"
        )
    return 0


def _without_exploration(lists: Lists) -> Lists:
    """Return the same settings without exploration: the estimate is about lists without it."""
    exploration = msgspec.structs.replace(lists.exploration, share=0.0)
    return msgspec.structs.replace(lists, exploration=exploration)
