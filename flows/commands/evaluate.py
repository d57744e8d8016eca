"""`penstock evaluate`: scores the lists on a recorded file and compares them with simple baselines."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from flows.commands import evaluation_tables as tables
from flows.commands import extras
from flows.commands.arguments import complete
from flows.commands.evaluation_files import errors_with_file_name, read_clicks, session_gap_ms
from flows.commands.evaluation_plot import plot
from flows.commands.options import load_settings
from flows.process.printing import create_console, print_error
from flows.sources.files import LogFile
from operators.evaluation.baselines import BASELINES, BaselineCompetitor
from operators.evaluation.breakdown import GROUPINGS, breakdown
from operators.evaluation.comparison import compare
from operators.evaluation.counterfactual import counterfactual
from operators.evaluation.formats import FORMATS, cases
from operators.evaluation.impressions import ImpressionLog
from operators.evaluation.product_recommender import ProductRecommender
from operators.evaluation.protocols import (
    BLEND,
    OTHER_CONFIGURATION,
    ProtocolOptions,
    leave_one_out,
    prequential,
    split,
)
from operators.readers import FORMATS as LOGS
from operators.recommend.recommender import Recommender
from state import config_loader
from state.errors import ConfigurationError, DataError, OutputError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.evaluation.clicks import ClickSession, ClickStream, StreamClick
    from operators.evaluation.protocols import Competitor, Request
    from operators.evaluation.results import EvaluationResult
    from state.config import Settings
    from state.config_lists import Lists

K_MAX = 100
"""Items that a list of the key contract may hold."""

PROGRESS_CLICKS = 500
PROTOCOLS = ("prequential", "split", "leave-one-out", "counterfactual")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score the lists on a recorded file",
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
        return 2


def run(args: argparse.Namespace) -> int:
    """Read, score, print, write. Raises UserError."""
    _check(args)
    settings, other_lists = load_settings(args), _other_configuration(args)
    if args.protocol == "counterfactual":
        return _counterfactual(args, settings, other_lists)
    # Opened first, so that a wrong name is reported before minutes of learning.
    with LogFile(args.cases) if args.cases else nullcontext() as case_file:
        clicks = read_clicks((*args.warm, args.file), args.format, settings)
        with threadpool_limits(1):  # as in the flow: the matrices are small
            outcome = _run_protocol(args, settings, other_lists, clicks, case_file)
    if not len(outcome):
        raise DataError(f"{args.file}: nothing to score: it holds no second click of a shopper")
    scores = outcome.scores(catalogue=len(clicks.items))
    has_times = args.protocol == "prequential" and args.format != "sequences"
    groups = breakdown(outcome, has_times=has_times)
    comparison = compare(outcome, BLEND, OTHER_CONFIGURATION) if other_lists else None
    if args.report:
        _write(args.report, tables.evaluation_report(len(outcome), scores, groups, comparison))
    if args.plot:
        title = f"{args.protocol}, {Path(args.file).name}"
        plot(outcome, groups, args.plot, title=title, has_times=has_times)
    terminal = create_console()
    terminal.print(tables.accuracy_table(scores))
    terminal.print(tables.diversity_table(scores))
    for grouping in _split_words(args.by):
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


def _run_protocol(
    args: argparse.Namespace,
    settings: Settings,
    other_lists: Lists | None,
    clicks: ClickStream,
    case_file: LogFile | None,
) -> EvaluationResult:
    rules = _protocol_rules(args, settings)
    competitors = _competitors(args, clicks, settings, other_lists)
    terminal = create_console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        competitors.append(_ProgressReporter(bar, len(clicks)))
        if case_file is None:
            protocol = prequential if args.protocol == "prequential" else leave_one_out
            return protocol(clicks, competitors, rules)
        named_cases = errors_with_file_name(case_file.name, cases(case_file.lines()))
        return split(clicks, named_cases, competitors, rules)


def _protocol_rules(args: argparse.Namespace, settings: Settings) -> ProtocolOptions:
    gap_ms = session_gap_ms(args.format, settings)
    return ProtocolOptions(k=args.k, unseen=args.unseen, known=args.known, session_gap_ms=gap_ms)


def _counterfactual(args: argparse.Namespace, settings: Settings, other_lists: Lists | None) -> int:
    """Estimate the clicks that each policy would have got at the explored positions."""
    log = ImpressionLog()
    clicks = read_clicks((*args.warm, args.file), args.format, settings, log)
    impressions = log.rows()
    if not impressions:
        raise DataError(
            f"{args.file}: nothing to estimate from: no reco_view with reco.propensity and"
            " reco.position; see docs/evaluate.md"
        )
    ours = msgspec.structs.replace(settings, lists=_without_exploration(settings.lists))
    competitors = _competitors(
        args, clicks, ours, other_lists and _without_exploration(other_lists)
    )
    terminal = create_console(stderr=True)
    with (
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar,
        threadpool_limits(1),
    ):
        competitors.append(_ProgressReporter(bar, len(clicks)))
        estimates = counterfactual(
            clicks, impressions, competitors, _protocol_rules(args, settings)
        )
    reward = sum(row.reward for row in impressions) / len(impressions)
    if args.report:
        _write(args.report, tables.counterfactual_report(len(impressions), reward, estimates))
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


def _check(args: argparse.Namespace) -> None:
    """Check options where argparse cannot. Raises ConfigurationError."""
    if not 1 <= args.k <= K_MAX:
        raise ConfigurationError(f"--k {args.k}: a list holds 1 to {K_MAX} items")
    _check_protocol(args)
    for path in (args.report, args.plot):
        if path and not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: make the directory {path.parent} first")
    if args.plot:
        extras.require("plots", "--plot")
    if set(_split_words(args.by)) - {*GROUPINGS}:
        raise ConfigurationError(f"--by {args.by}: choose from {', '.join(GROUPINGS)}")
    if (args.against or args.against_set) and BLEND not in _split_words(args.learners):
        raise ConfigurationError("--against compares the blend: name it in --learners")
    unknown = set(_split_words(args.learners)) - {*BASELINES, BLEND}
    if unknown or not _split_words(args.learners):
        known = ", ".join([*BASELINES, BLEND])
        raise ConfigurationError(f"--learners {args.learners}: choose from {known}")


def _check_protocol(args: argparse.Namespace) -> None:
    if (args.protocol == "split") != bool(args.cases):
        raise ConfigurationError("--protocol split and --cases FILE need each other")
    if args.protocol == "counterfactual" and args.format in FORMATS:
        raise ConfigurationError(
            f"--protocol counterfactual needs reco_view events: {args.format} has none"
        )
    if args.protocol == "counterfactual" and (args.plot or args.by or args.unseen or args.known):
        raise ConfigurationError(
            "--plot, --by, --unseen and --known are not for --protocol counterfactual"
        )
    if args.warm and args.protocol in ("split", "leave-one-out"):
        raise ConfigurationError(
            f"--warm is for --protocol prequential: {args.protocol} learns FILE itself"
        )
    if args.warm and args.format == "sequences":
        raise ConfigurationError(
            "--warm needs times, which `sequences` lacks: join the files instead"
        )


def _split_words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _competitors(
    args: argparse.Namespace, clicks: ClickStream, settings: Settings, other_lists: Lists | None
) -> list[Competitor]:
    names = _split_words(args.learners)
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


def _recommender(args: argparse.Namespace, lists: Lists) -> Recommender:
    adjusted = msgspec.structs.replace(lists, k=args.k, allow_repeats=not args.unseen)
    return Recommender.from_config(adjusted)


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}: name another file") from error


class _ProgressReporter:
    """A competitor that learns and lists nothing: it shows the progress of the others."""

    def __init__(self, bar: Progress, clicks: int) -> None:
        self._bar = bar
        self._task = bar.add_task("clicks", total=clicks)
        self._learned = 0

    def learn(self, click: StreamClick, session: ClickSession) -> None:
        self._learned += 1
        if self._learned % PROGRESS_CLICKS == 0:
            self._bar.update(self._task, completed=self._learned)

    def recommend(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        return [{} for _ in requests]
