"""`penstock tune`: searches better list settings on a recorded file, and confirms them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import yaml
from threadpoolctl import threadpool_limits

from flows.commands import evaluation_tables as tables
from flows.commands import extras
from flows.commands.arguments import complete
from flows.commands.evaluation_files import read_clicks, session_gap_ms
from flows.commands.options import load_settings
from flows.process.printing import create_console
from operators.evaluation.comparison import compare
from operators.evaluation.formats import FORMATS
from operators.evaluation.product_recommender import ProductRecommender
from operators.evaluation.protocols import BLEND, OTHER_CONFIGURATION, ProtocolOptions, prequential
from operators.evaluation.search_space import EVENT_TYPES, SEARCH_SPACE
from operators.readers import FORMATS as LOGS
from operators.recommend.recommender import Recommender
from state import config_loader
from state.config_lists import Weights
from state.errors import ConfigurationError, DataError, OutputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    import optuna
    from rich.console import Console

    from operators.evaluation.clicks import ClickStream
    from operators.evaluation.comparison import Comparison
    from operators.evaluation.protocols import Competitor
    from state.config import Settings

    Choice = Mapping[str, float]

LISTS_PER_BATCH = 256
"""Lists computed together: ten times as fast as one by one, and HR changes by less than .003."""
WARM_SHARE = 0.2
"""Share of the clicks of a search that is learned and not scored."""
CASES_MIN = 200
STARTUP_TRIALS = 8
"""Random trials before the search uses the results of earlier ones."""
DIGITS = 3
"""Significant digits of a tried value; more would suggest a precision that nobody has."""
TYPE_CODES = Weights(item_view=0, wishlist_add=1, cart_add=2, purchase=3)
"""Weights that encode the type of an event, until a trial sets the real weight."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "tune",
        help="search better list settings on a recorded file",
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
    add("--seed", type=int, default=7, help="random seed of the search (default: %(default)s)")
    complete(parser, run, redis=False)


def run(args: argparse.Namespace) -> int:
    """Search, confirm, print, write. Returns 1 if nothing is better. Raises UserError."""
    _check(args)
    current = load_settings(args)
    reading_settings = msgspec.structs.replace(
        current, lists=msgspec.structs.replace(current.lists, weights=TYPE_CODES)
    )
    is_log = args.format in LOGS
    clicks = read_clicks([args.file], args.format, reading_settings if is_log else current)
    keys = _keys_to_search(clicks, is_log=is_log)
    evaluation = TrialEvaluation(args, clicks, is_log=is_log)
    terminal = create_console(soft_wrap=True)
    with threadpool_limits(1):
        choice = _search(args, evaluation, keys, terminal)
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
        _write(args.write, text)
    return 0


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
        return ProductRecommender(Recommender.from_config(lists), clicks, blend_name=name)

    def _settings(self, choice: Choice) -> Settings:
        overrides = tuple(f"{key}={value}" for key, value in choice.items())
        return config_loader.load(self._args.config, overrides=(*self._args.set, *overrides))


def _check(args: argparse.Namespace) -> None:
    extras.require("tune", "penstock tune")
    if args.trials < 1:
        raise ConfigurationError(f"--trials {args.trials}: at least 1")
    if not 0.05 <= args.confirm <= 0.9:
        raise ConfigurationError(f"--confirm {args.confirm}: a share from 0.05 to 0.9")
    if not 1 <= args.k <= 100:
        raise ConfigurationError(f"--k {args.k}: a list holds 1 to 100 items")
    if args.file == "-":
        raise ConfigurationError(
            "tune reads FILE by its name: write standard input to a file first"
        )
    for path in (args.study, args.write):
        if path and not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: make the directory {path.parent} first")


def _keys_to_search(clicks: ClickStream, *, is_log: bool) -> list[str]:
    """Return the keys that can change the result: weights only of event types that occur."""
    event_types = {EVENT_TYPES[int(code)] for code in set(clicks.weight)} if is_log else set()
    return [
        key
        for key, dimension in SEARCH_SPACE.items()
        if not dimension.event_type or dimension.event_type in event_types
    ]


def _search(
    args: argparse.Namespace, evaluation: TrialEvaluation, keys: Sequence[str], terminal: Console
) -> Choice:
    """Return the best settings; nothing if the current configuration is best."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _study(args, keys)

    def trial_value(trial: optuna.Trial) -> float:
        completed = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        # The first trial is the current configuration.
        choice = {key: _suggest(trial, key) for key in keys} if completed else {}
        value = evaluation.evaluate(choice)
        is_best = not completed or value > study.best_value
        description = " ".join(
            f"{key.removeprefix('lists.')}={value_}" for key, value_ in choice.items()
        )
        terminal.print(
            f"{len(completed) + 1:4} {args.metric}@{args.k} {value:.4f}{' *' if is_best else '  '}"
            f" {description or 'the present configuration'}"
        )
        return value

    remaining = args.trials - len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    if remaining > 0:
        seconds = None if args.minutes is None else 60 * args.minutes
        study.optimize(trial_value, n_trials=remaining, timeout=seconds)
    best = study.best_trial
    return {key: _round(value, key) for key, value in best.params.items()}


def _study(args: argparse.Namespace, keys: Sequence[str]) -> optuna.Study:
    """Open the study with the trials so far.

    Raises ConfigurationError if they are of another search.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = None
    if args.study:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(args.study)))
    study = optuna.create_study(
        study_name="penstock", storage=storage, load_if_exists=True, direction="maximize"
    )
    # A search that continues must not repeat its trials.
    seed = args.seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    description = _describe(args, keys)
    if study.user_attrs.get("about", description) != description:
        raise ConfigurationError(
            f"{args.study} holds the trials of another file, configuration or option:"
            " name another, or remove it"
        )
    study.set_user_attr("about", description)
    # A trial that was interrupted failed; its number stays used.
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _describe(args: argparse.Namespace, keys: Sequence[str]) -> str:
    """Return a digest of everything that must be equal for trials to be comparable."""
    content = hashlib.sha256(Path(args.file).read_bytes()).hexdigest()
    parts = (
        content,
        args.format,
        args.k,
        args.unseen,
        args.metric,
        args.confirm,
        load_settings(args).sha256,
    )
    return hashlib.sha256(orjson.dumps([*parts, *keys])).hexdigest()


def _suggest(trial: optuna.Trial, key: str) -> float:
    dimension = SEARCH_SPACE[key]
    return _round(trial.suggest_float(key, dimension.low, dimension.high, log=True), key)


def _round(value: float, key: str) -> float:
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if SEARCH_SPACE[key].whole else rounded


def _yaml(choice: Choice) -> str:
    """Return the changed settings as YAML, in the form of `config.yaml`."""
    tree: dict[str, Any] = {}
    for key, value in choice.items():
        *sections, name = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return yaml.safe_dump(tree, sort_keys=False)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}: name another file") from error
