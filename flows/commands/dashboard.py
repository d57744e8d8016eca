"""`penstock dashboard`: serves the dashboard, a web page with the current segments and shop figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flows.commands import extras
from flows.commands.arguments import complete
from flows.commands.options import external_redis_url, load_settings
from flows.commands.summaries import SUMMARIES
from flows.process.shutdown import stop_on_signal

if TYPE_CHECKING:
    import argparse

    from serving.dashboard.server import Server
    from state.config import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "dashboard",
        help=SUMMARIES["dashboard"],
        description="Serve a web page with the current segments and shop figures. It reads Redis only.",
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="address to listen on (default: serving.listen)"
    )
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal arrives. Raises UserError."""
    settings = load_settings(args, require_consent_defaults=True)
    if args.listen:
        serving = msgspec.structs.replace(settings.serving, listen=args.listen)
        settings = msgspec.structs.replace(settings, serving=serving)
    url = external_redis_url(args, settings)
    with stop_on_signal() as stop:
        page = create_server(settings, url)
        print(f"The page is at {page.url}. Ctrl-C ends it.", flush=True)
        page.serve(stop)
    return 0


def create_server(settings: Settings, redis_url: str) -> Server:
    """Create the server of the dashboard. Raises UserError, also if its packages are not installed."""
    extras.require("dashboard", "the page")
    from serving.dashboard.server import Server

    return Server(settings, redis_url)
