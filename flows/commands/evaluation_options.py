"""Checks the options of `penstock evaluate` where argparse cannot, and parses lists of words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands import extras
from flows.commands.output import check_directory
from operators.evaluation.baselines import BASELINES
from operators.evaluation.breakdown import GROUPINGS
from operators.evaluation.competitors import BLEND
from operators.evaluation.formats import FORMATS
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

K_MAX = 100
"""Items that a list of the key contract may hold."""


def check_k(k: int) -> None:
    """Raise ConfigurationError for a length that no list can have."""
    if not 1 <= k <= K_MAX:
        raise ConfigurationError(f"--k {k}: a list holds 1 to {K_MAX} items")


def check_options(args: argparse.Namespace) -> None:
    """Check options where argparse cannot. Raises ConfigurationError."""
    check_k(args.k)
    _check_protocol(args)
    for path in (args.report, args.plot):
        check_directory(path)
    if args.plot:
        extras.require("plots", "--plot")
    if set(split_words(args.by)) - {*GROUPINGS}:
        raise ConfigurationError(f"--by {args.by}: choose from {', '.join(GROUPINGS)}")
    if (args.against or args.against_set) and BLEND not in split_words(args.learners):
        raise ConfigurationError("--against compares the blend: name it in --learners")
    unknown = set(split_words(args.learners)) - {*BASELINES, BLEND}
    if unknown or not split_words(args.learners):
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


def split_words(text: str) -> list[str]:
    """Return the words of a text that is separated by commas."""
    return [word for word in text.split(",") if word]
