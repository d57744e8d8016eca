"""`penstock run`: events from Kafka into Redis, until told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows import logs
from flows.options import add_redis, add_settings, lasting_redis_url, settings_of
from flows.running import run_live
from flows.stopping import stop_on_signal

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="events from Kafka into Redis, until told to stop",
        description="Read events from Kafka and write what comes of them to Redis, until told to stop.",
    )
    add = parser.add_argument
    add(
        "--recovery",
        metavar="DIR",
        type=Path,
        help="keep snapshots here: a run that was stopped or killed goes on where it was",
    )
    add(
        "--dead-letters",
        metavar="FILE",
        type=Path,
        default=Path("penstock.dead-letters.jsonl"),
        help="where rejected records go (default: %(default)s)",
    )
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until a signal. Raises UserError."""
    settings = settings_of(args)
    logs.set_up(settings.log)
    redis_url = lasting_redis_url(args, settings)
    with stop_on_signal() as stop:
        run_live(
            settings,
            stop,
            redis_url=redis_url,
            dead_letters=args.dead_letters,
            recovery_folder=args.recovery,
        )
    return 0
