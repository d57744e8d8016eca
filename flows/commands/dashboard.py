"""`penstock dashboard`: the page that shows segments and the shop as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flows.commands import extras
from flows.commands.options import add_redis, add_settings, external_redis_url, load_settings
from flows.process.shutdown import stop_on_signal

if TYPE_CHECKING:
    import argparse

    from serving.dashboard.server import Server
    from state.config import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "dashboard",
        help="a page that shows segments and the shop as they are now",
        description="Serve a page that shows segments and the shop as they are now, from Redis alone.",
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="where (default serving.listen of the configuration)"
    )
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal. Raises UserError."""
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


def create_server(settings: Settings, redis_url: str, *, any_port: bool = False) -> Server:
    """The server of the page. Raises UserError, also where what it needs is not installed."""
    extras.require("dashboard", "the page")
    from serving.dashboard.server import Server

    return Server(settings, redis_url, any_port=any_port)
