"""`penstock experiments`: checks and plans experiments, and says what they brought on a recorded
file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flows.commands.arguments import complete
from flows.commands.experiments_log import read_unit_log
from flows.commands.experiments_text import daily_line, experiment_lines, plan_lines, result_lines
from flows.commands.options import load_settings
from flows.commands.output import check_directory, write_file
from flows.commands.summaries import SUMMARIES
from flows.process.printing import print_lines
from operators.experiments.assign import is_held_out, variant_of
from operators.experiments.parser import parse_experiments
from operators.experiments.planning import baseline_of, least_effect_by, plan
from operators.experiments.units import LeftOut, all_viewers, exposed_units, measure, measure_daily
from operators.experiments.verdict import judge
from operators.readers.registry import FORMATS
from state.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from operators.experiments.definitions import Experiment, Experiments

DEFAULT_FILE = Path("experiments.yaml")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand and its actions."""
    parser = subparsers.add_parser(
        "experiments",
        help=SUMMARIES["experiments"],
        description="Check and plan the experiments of a file, and say what they brought.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    action = actions.add_parser(
        "list", help="list all experiments", description="List the experiments of the file."
    )
    _complete(action, _list)
    action = actions.add_parser(
        "check",
        help="check the file",
        description="Check the file. The first error is printed with its line.",
    )
    _complete(action, _check)
    action = actions.add_parser(
        "assign",
        help="print the variant of ids",
        description="Print which variant of an experiment each id gets.",
    )
    action.add_argument("experiment", metavar="NAME")
    action.add_argument("ids", metavar="ID", nargs="+")
    _complete(action, _assign)
    action = actions.add_parser(
        "power",
        help="say how long an experiment takes",
        description="Say how many units and days an experiment needs, from a log of the slot.",
    )
    _add_log(action)
    action.add_argument(
        "--days", type=float, metavar="N", help="print the effect that is found after N days too"
    )
    _complete(action, _power)
    action = actions.add_parser(
        "show",
        help="say what an experiment brought",
        description="Say what an experiment brought, by a log with its exposures, and its verdict.",
    )
    _add_log(action)
    action.add_argument(
        "--daily", action="store_true", help="print the sequence at the end of each day too"
    )
    action.add_argument("--report", metavar="FILE", type=Path, help="write the result as JSON")
    _complete(action, _show)


def _complete(action: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    action.add_argument(
        "--experiments",
        metavar="FILE",
        type=Path,
        default=DEFAULT_FILE,
        help="file with the experiments (default: %(default)s)",
    )
    complete(action, run, redis=False)


def _add_log(action: argparse.ArgumentParser) -> None:
    action.add_argument("experiment", metavar="NAME")
    action.add_argument("file", metavar="FILE", help="the recorded file: plain, .gz, or -")
    action.add_argument("--format", required=True, choices=FORMATS, help="the format of FILE")


def _list(args: argparse.Namespace) -> int:
    load_settings(args)
    experiments = _read(args.experiments)
    print_lines(experiment_lines(experiments))
    return 0


def _check(args: argparse.Namespace) -> int:
    load_settings(args)
    experiments = _read(args.experiments)
    print_lines([f"{args.experiments}: good ({len(experiments.experiments)} experiments)"])
    return 0


def _assign(args: argparse.Namespace) -> int:
    load_settings(args)
    experiments = _read(args.experiments)
    experiment = _find(experiments, args.experiment, args.experiments)
    print_lines(f"{one}: {_answer(experiments, experiment, one)}" for one in args.ids)
    return 0


def _answer(experiments: Experiments, experiment: Experiment, unit_id: str) -> str:
    held_out = is_held_out(experiments, unit_id)
    return "held out" if held_out else variant_of(experiment, unit_id)


def _power(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    experiment = _find(_read(args.experiments), args.experiment, args.experiments)
    if args.days is not None and not 0 < args.days <= 3650:
        raise ConfigurationError("--days is how long the experiment may take: give 1 to 3650")
    log = read_unit_log(args.file, args.format, settings, None, experiment.slot)
    units = all_viewers(experiment, log)
    measured = measure(experiment, log, units, LeftOut())
    baseline = baseline_of(units, measured.sums[experiment.decide.metric][experiment.control])
    if baseline.units < 2:
        raise DataError(
            f"{args.file}: nothing to plan from: fewer than two shoppers saw the slot "
            f"`{experiment.slot}` (reco_view) and have a complete window"
        )
    by_day = least_effect_by(experiment, baseline, args.days) if args.days else None
    print_lines(plan_lines(experiment, baseline, plan(experiment, baseline), args.days, by_day))
    return 0


def _show(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    check_directory(args.report)
    experiments = _read(args.experiments)
    experiment = _find(experiments, args.experiment, args.experiments)
    log = read_unit_log(args.file, args.format, settings, experiment.name, experiment.slot)
    if not log.exposures:
        raise DataError(
            f"{args.file}: nothing to measure: no reco_view with reco.experiment "
            f"`{experiment.name}`; see docs/experiments.md"
        )
    units, left_out = exposed_units(experiments, experiment, log)
    if args.daily:
        for at_day_end in measure_daily(experiment, log, units, left_out):
            print_lines([daily_line(at_day_end, judge(experiment, at_day_end))])
    measured = measure(experiment, log, units, left_out)
    verdict = judge(experiment, measured)
    if args.report:
        report = {"measured": measured, "verdict": verdict, "other_currency": log.other_currency}
        write_file(args.report, msgspec.json.encode(report))
    print_lines(result_lines(experiment, measured, verdict, log.other_currency))
    return 0


def _read(path: Path) -> Experiments:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise ConfigurationError(f"{path}: {reason}: name a file with --experiments") from error
    return parse_experiments(text, str(path))


def _find(experiments: Experiments, name: str, path: Path) -> Experiment:
    for experiment in experiments.experiments:
        if experiment.name == name:
            return experiment
    raise ConfigurationError(f"{path}: no experiment `{name}`: name one of that file")
