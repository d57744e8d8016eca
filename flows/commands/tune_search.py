"""Searches settings for `penstock tune` with Optuna; a study file lets a search continue."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from flows.commands.options import load_settings
from operators.evaluation.search_space import EVENT_TYPES, SEARCH_SPACE
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    import optuna
    from rich.console import Console

    from flows.commands.tune_trials import TrialEvaluation
    from operators.evaluation.clicks import ClickStream

    Choice = Mapping[str, float]

STARTUP_TRIALS = 8
"""Random trials before the search uses the results of earlier ones."""
DIGITS = 3
"""Significant digits of a tried value; more would suggest a precision that nobody has."""


def keys_to_search(clicks: ClickStream, *, is_log: bool) -> list[str]:
    """Return the keys that can change the result: weights only of event types that occur."""
    event_types = {EVENT_TYPES[int(code)] for code in set(clicks.weight)} if is_log else set()
    return [
        key
        for key, dimension in SEARCH_SPACE.items()
        if not dimension.event_type or dimension.event_type in event_types
    ]


def search(
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
