"""`penstock evaluate`: scores the lists on a recorded file and compares them with simple baselines."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from flows.commands import evaluation_tables as tables
from flows.commands.arguments import complete
from flows.commands.evaluate_counterfactual import estimate
from flows.commands.evaluation_files import read_clicks
from flows.commands.evaluation_options import check_options, split_words
from flows.commands.evaluation_plot import plot
from flows.commands.evaluation_run import run_protocol
from flows.commands.options import load_settings
from flows.commands.output import write_file
from flows.commands.summaries import SUMMARIES
from flows.process.exit_codes import EXIT_USER_ERROR
from flows.process.printing import create_console, print_error
from flows.sources.files import LogFile
from operators.evaluation.baselines import BASELINES
from operators.evaluation.breakdown import GROUPINGS, breakdown
from operators.evaluation.comparison import compare
from operators.evaluation.competitors import BLEND, OTHER_CONFIGURATION
from operators.evaluation.formats import FORMATS
from operators.readers.registry import FORMATS as LOGS
from state import config_loader
from state.errors import ConfigurationError, DataError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.config_lists import Lists

PROTOCOLS = ("prequential", "split", "leave-one-out", "counterfactual")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help=SUMMARIES["evaluate"],
        description="Score the lists that each learner and the blend would have shown.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the recorded file: plain, .gz, or - for standard input")
    add("--format", required=True, choices=[*LOGS, *FORMATS], help="the format of FILE")
    add(
        "--protocol",
        choices=PROTOCOLS,
        default="prequential",
        help="how lists are scored (default: %(default)s)",
    )
    add("--cases", metavar="FILE", help="split: cases to score, on each line PREFIX<TAB>TARGET")
    add(
        "--warm",
        metavar="FILE",
        action="append",
        default=[],
        help="prequential: learn from this file first, without scoring; may be repeated",
    )
    add("--k", type=int, default=20, help="length of the lists (default: %(default)s)")
    add("--unseen", action="store_true", help="list only items that the shopper has not clicked")
    add("--known", action="store_true", help="score no first clicks of shoppers")
    add(
        "--learners",
        metavar="A,B",
        default=",".join([*BASELINES, BLEND]),
        help="learners to score (default: %(default)s); blend is what the product shows",
    )
    add("--against", metavar="FILE", type=Path, help="compare with this other configuration")
    add(
        "--against-set",
        metavar="A.B=C",
        action="append",
        default=[],
        help="set one key of the other configuration; may be repeated",
    )
    add("--by", metavar="A,B", default="", help=f"group the cases by {', '.join(GROUPINGS)}")
    add("--report", metavar="FILE", type=Path, help="write the scores as JSON")
    add("--plot", metavar="FILE.png", type=Path, help="plot the hit rate over time and by group")
    complete(parser, run, redis=False)


def main(argv: Sequence[str]) -> int:
    """Run this subcommand alone, with the result of `penstock evaluate ARGV`."""
    parser = argparse.ArgumentParser(prog="penstock")
    add_parser(parser.add_subparsers(required=True))
    try:
        return run(parser.parse_args(["evaluate", *argv]))
    except UserError as error:
        print_error(str(error))
        return EXIT_USER_ERROR


def run(args: argparse.Namespace) -> int:
    """Read, score, print, write. Raises UserError."""
    check_options(args)
    settings, other_lists = load_settings(args), _other_configuration(args)
    if args.protocol == "counterfactual":
        return estimate(args, settings, other_lists)
    # Opened first, so that a wrong name is reported before minutes of learning.
    with LogFile(args.cases) if args.cases else nullcontext() as case_file:
        clicks = read_clicks((*args.warm, args.file), args.format, settings)
        with threadpool_limits(1):  # as in the flow: the matrices are small
            outcome = run_protocol(args, settings, other_lists, clicks, case_file)
    if not len(outcome):
        raise DataError(f"{args.file}: nothing to score: it holds no second click of a shopper")
    scores = outcome.scores(catalogue=len(clicks.items))
    has_times = args.protocol == "prequential" and args.format != "sequences"
    groups = breakdown(outcome, has_times=has_times)
    comparison = compare(outcome, BLEND, OTHER_CONFIGURATION) if other_lists else None
    if args.report:
        write_file(args.report, tables.evaluation_report(len(outcome), scores, groups, comparison))
    if args.plot:
        title = f"{args.protocol}, {Path(args.file).name}"
        plot(outcome, groups, args.plot, title=title, has_times=has_times)
    terminal = create_console()
    terminal.print(tables.accuracy_table(scores))
    terminal.print(tables.diversity_table(scores))
    for grouping in split_words(args.by):
        if grouping in groups:
            learners = tables.learners_in_groups(scores)
            terminal.print(tables.group_table(grouping, groups[grouping], learners))
        else:
            terminal.print(f"all cases are alike by {grouping}")
    if comparison:
        for line in tables.comparison_lines(comparison, args.k, _name_of_other(args)):
            terminal.print(line, highlight=False)
    terminal.print(f"{len(outcome):,} cases, lists of {args.k} of {len(clicks.items):,} items")
    return 0


def _other_configuration(args: argparse.Namespace) -> Lists | None:
    """Return the lists of the configuration to compare with.

    Raises ConfigurationError if they are equal.
    """
    if not (args.against or args.against_set):
        return None
    overrides = (*args.set, *args.against_set)
    ours, theirs = (
        load_settings(args),
        config_loader.load(args.against or args.config, overrides=overrides),
    )
    if ours.lists.weights != theirs.lists.weights:
        raise ConfigurationError(
            "lists.weights cannot be compared in one go: evaluate each by itself"
        )
    if ours.lists == theirs.lists:
        raise ConfigurationError(f"{_name_of_other(args)} has the same lists: nothing to compare")
    return theirs.lists


def _name_of_other(args: argparse.Namespace) -> str:
    return " ".join([str(args.against or ""), *args.against_set]).strip()
