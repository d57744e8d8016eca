"""`penstock demo`: a synthetic shop to click in, with everything that a shop runs, on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.arguments import complete
from flows.commands.summaries import SUMMARIES
from flows.process.printing import create_console
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

PAST_EVENTS, PAST_EVENTS_ONCE = 60_000, 20_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help=SUMMARIES["demo"],
        description="Run a synthetic shop with a private Redis until Ctrl-C: a shop to click in, the "
        "page of its marketers, the collector, the flow, and visitors.",
    )
    add = parser.add_argument
    add("--once", action="store_true", help="check that a click reaches a list, then end")
    add(
        "--events",
        metavar="N",
        type=int,
        help=f"about so many events in the shop's past (default: {PAST_EVENTS:,}; with --once: "
        f"{PAST_EVENTS_ONCE:,})",
    )
    complete(parser, run, redis=False)


def run(args: argparse.Namespace) -> int:
    """Run the shop. Raises UserError."""
    if args.events is None:
        args.events = PAST_EVENTS_ONCE if args.once else PAST_EVENTS
    if args.events < 1:
        raise ConfigurationError(f"--events {args.events}: name at least 1")
    terminal = create_console()
    terminal.print(
        f"A synthetic shop. First about {args.events:,} events of its past go through the flow, "
        "which takes some seconds."
    )
    # Imported after the first line is printed: the imports take seconds.
    from flows.commands import demo_run

    return demo_run.run(args, terminal)
