"""`penstock demo`: the main job on a synthetic shop, with a Redis of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.options import add_settings, load_settings
from flows.process.printing import create_console
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

EVENTS = 200_000
SPEED = 15
"""How much faster the shop's time goes than ours: a visit of two minutes is over in eight seconds."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="the main job on a synthetic shop, with a Redis of its own",
        description="Run the flow on a synthetic shop and watch it, until Ctrl-C.",
    )
    add = parser.add_argument
    add("--once", action="store_true", help="a short run that ends by itself")
    add("--events", metavar="N", type=int, help=f"end after N events (--once: {EVENTS:,})")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the shop through the flow. Raises UserError."""
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
    # After the first words: what the flow imports takes seconds.
    from flows.commands import demo_run

    demo_run.run(settings, terminal, events=events, is_live=not args.once, speed=SPEED)
    return 0
