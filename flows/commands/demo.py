"""`penstock demo`: the main job on a synthetic shop, with a Redis of its own."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.console import Console

from flows.beside import beside
from flows.commands.dashboard import server as page_server
from flows.embedded import EmbeddedRedis
from flows.live import LiveSource
from flows.options import add_settings, settings_of
from flows.replay import report, run_source
from flows.stopping import stop_on_signal
from flows.summary import summary
from flows.terminal import live_view
from operators.synthetic import shop
from state.errors import UserError

if TYPE_CHECKING:
    import argparse

EVENTS = 200_000
HISTORY = 60_000
HISTORY_BATCH = 1024
"""Less than a minute of the shop: what time alone changes is told once a batch, charts are by minute."""
EVENTS_PER_S = 300
SPEED = 15
"""How much faster the shop's time goes than ours: a visit of two minutes is over in eight seconds."""
SHOPPERS = 10_000


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
        raise UserError(f"--events {args.events}: name at least 1")
    settings = settings_of(args, of_people=True)
    events = args.events or (EVENTS if args.once else None)
    history = events if args.once and events else HISTORY
    if not args.once:
        batch = min(settings.source.batch_events, HISTORY_BATCH)
        settings = replace(settings, source=replace(settings.source, batch_events=batch))
    visits = shop(shoppers=SHOPPERS, events=events, events_per_s=EVENTS_PER_S / SPEED)
    began_s = time.perf_counter()
    console = Console(highlight=False)
    some = f"{events:,} events" if events else "Events"
    pace = "" if args.once else f"\nA second here is {SPEED} s in the shop. Ctrl-C ends it."
    console.print(f"{some} of a synthetic shop, through the flow, into a Redis of its own{pace}")
    with EmbeddedRedis() as server, tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        dead_letters = Path(folder) / "dead-letters.jsonl"
        with stop_on_signal() as stop, ExitStack() as shown:
            if not args.once:
                page = page_server(settings, server.url, any_port=True)
                console.print(f"Open {page.url} to watch the shop and its segments.")
                shown.enter_context(beside("page", page.serve))
                shown.enter_context(live_view(console, server.url))
            source = LiveSource(visits, settings, stop, history=history, events_per_s=EVENTS_PER_S)
            run_source(source, settings, redis_url=server.url, dead_letters=dead_letters)
        figures = report(settings, server.url, began_s)
        summary(console, figures, server.url, dead_letters)
    return 0
