"""`penstock demo`: runs the flow on a synthetic shop, with a private Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.arguments import complete
from flows.commands.options import load_settings
from flows.commands.summaries import SUMMARIES
from flows.process.printing import create_console
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

EVENTS = 200_000
SPEED = 15
"""Event time runs this much faster than the clock: a visit of two minutes ends after eight seconds."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help=SUMMARIES["demo"],
        description="Run the flow on a synthetic shop, with a private Redis, until Ctrl-C. "
        "Watch it in the terminal and on a web page.",
    )
    add = parser.add_argument
    add("--once", action="store_true", help="run as fast as possible, then end, without a web page")
    add("--events", metavar="N", type=int, help=f"end after N events (with --once: {EVENTS:,})")
    complete(parser, run, redis=False)


def run(args: argparse.Namespace) -> int:
    """Run the events of the shop through the flow. Raises UserError."""
    if args.events is not None and args.events < 1:
        raise ConfigurationError(f"--events {args.events}: name at least 1")
    settings = load_settings(args)
    events = args.events or (EVENTS if args.once else None)
    terminal = create_console()
    subject = f"{events:,} events" if events else "Events"
    pace = "" if args.once else f"\nA second here is {SPEED} s in the shop. Ctrl-C ends it."
    terminal.print(
        f"{subject} of a synthetic shop, through the flow, into a Redis of its own{pace}"
    )
    # Imported after the first line is printed: the imports of the flow take seconds.
    from flows.commands import demo_run

    demo_run.run(settings, terminal, events=events, is_live=not args.once, speed=SPEED)
    return 0
