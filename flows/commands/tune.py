"""`penstock tune`: searches better list settings, or a better estimator, on a recorded file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from threadpoolctl import threadpool_limits

from flows.commands import evaluation_tables as tables
from flows.commands import extras
from flows.commands.arguments import complete
from flows.commands.evaluation_files import read_clicks
from flows.commands.evaluation_options import check_k
from flows.commands.options import load_settings
from flows.commands.output import check_directory, write_file
from flows.commands.summaries import SUMMARIES
from flows.commands.tune_estimators import PROPOSED, choose_estimator
from flows.commands.tune_search import keys_to_search, search
from flows.commands.tune_trials import TrialEvaluation
from flows.process.printing import create_console
from operators.evaluation.formats import FORMATS
from operators.readers.registry import FORMATS as LOGS
from state.config_lists import Weights
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    Choice = Mapping[str, float]

TYPE_CODES = Weights(item_view=0, wishlist_add=1, cart_add=2, purchase=3)
"""Weights that encode the type of an event, until a trial sets the real weight."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "tune",
        help=SUMMARIES["tune"],
        description="Search better list settings on the first part of a file; confirm them on the "
        "rest.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the recorded file: plain or .gz")
    add("--format", required=True, choices=[*LOGS, *FORMATS], help="the format of FILE")
    add("--trials", type=int, default=40, help="settings to try (default: %(default)s)")
    add("--minutes", type=float, metavar="N", help="start no new trial after N minutes")
    add(
        "--metric",
        choices=["hr", "mrr"],
        default="mrr",
        help="metric to improve (default: %(default)s)",
    )
    add("--k", type=int, default=20, help="length of the lists (default: %(default)s)")
    add("--unseen", action="store_true", help="list only items that the shopper has not clicked")
    add(
        "--confirm",
        metavar="SHARE",
        type=float,
        default=0.3,
        help="share of the clicks, the last ones, that only confirm (default: %(default)s)",
    )
    add("--study", metavar="FILE", type=Path, help="store trials here; the same command continues")
    add(
        "--write", metavar="FILE.yaml", type=Path, help="write the settings that are better, if any"
    )
    add(
        "--estimators",
        choices=[*PROPOSED],
        help="choose the estimator of this section instead of list settings",
    )
    add(
        "--candidate",
        metavar="EXPRESSION",
        action="append",
        default=[],
        help="with --estimators, try this one too; may be repeated",
    )
    add("--seed", type=int, default=7, help="random seed of the search (default: %(default)s)")
    complete(parser, run, redis=False)


def run(args: argparse.Namespace) -> int:
    """Search, confirm, print, write. Returns 1 if nothing is better. Raises UserError."""
    _check(args)
    if args.estimators:
        return _choose_estimator(args)
    current = load_settings(args)
    reading_settings = msgspec.structs.replace(
        current, lists=msgspec.structs.replace(current.lists, weights=TYPE_CODES)
    )
    is_log = args.format in LOGS
    clicks = read_clicks([args.file], args.format, reading_settings if is_log else current)
    keys = keys_to_search(clicks, is_log=is_log)
    evaluation = TrialEvaluation(args, clicks, is_log=is_log)
    terminal = create_console(soft_wrap=True)
    with threadpool_limits(1):
        choice = search(args, evaluation, keys, terminal)
        if not choice:
            terminal.print("nothing that was tried is better than the present configuration")
            return 1
        comparison = evaluation.confirm(choice)
    for line in tables.comparison_lines(
        comparison, args.k, "the present configuration, on what came later"
    ):
        terminal.print(line)
    ours, other = (
        (comparison.hr, comparison.mrr) if args.metric == "hr" else (comparison.mrr, comparison.hr)
    )
    if not ours.is_gain or other.high < 0:
        terminal.print("no gain that lasts: nothing is written")
        return 1
    text = _yaml(choice)
    terminal.print(text.rstrip())
    if args.write:
        write_file(args.write, text.encode())
    return 0


def _choose_estimator(args: argparse.Namespace) -> int:
    terminal = create_console(soft_wrap=True)
    found = choose_estimator(args, load_settings(args), terminal)
    if found is None:
        terminal.print("no gain that lasts: nothing is written")
        return 1
    text = _yaml({f"{args.estimators}.estimator": found})
    terminal.print(text.rstrip(), markup=False)
    if args.write:
        write_file(args.write, text.encode())
    return 0


def _check(args: argparse.Namespace) -> None:
    if not args.estimators:
        extras.require("tune", "penstock tune")
    elif args.format not in LOGS:
        raise ConfigurationError(
            f"--format {args.format}: --estimators needs events: {', '.join(LOGS)}"
        )
    if args.trials < 1:
        raise ConfigurationError(f"--trials {args.trials}: at least 1")
    if not 0.05 <= args.confirm <= 0.9:
        raise ConfigurationError(f"--confirm {args.confirm}: a share from 0.05 to 0.9")
    check_k(args.k)
    if args.file == "-":
        raise ConfigurationError(
            "tune reads FILE by its name: write standard input to a file first"
        )
    for path in (args.study, args.write):
        check_directory(path)


def _yaml(choice: Mapping[str, float | str]) -> str:
    """Return the changed settings as YAML, in the form of `config.yaml`."""
    tree: dict[str, Any] = {}
    for key, value in choice.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return yaml.safe_dump(tree, sort_keys=False)
