"""`penstock serve`: lists over HTTP for a storefront."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flows.commands import extras
from flows.commands.arguments import complete
from flows.commands.options import external_redis_url, load_settings
from flows.commands.summaries import SUMMARIES
from flows.process.gc_control import spare_server
from flows.process.shutdown import stop_on_signal
from state.store import AsyncAppender

if TYPE_CHECKING:
    import argparse

    from serving.collector.event_log import CollectorLog
    from state.config import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "serve",
        help=SUMMARIES["serve"],
        description="Serve lists, segments and content over HTTP to a storefront. It reads Redis only.",
    )
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="address to listen on (default: storefront.listen)"
    )
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal arrives. Raises UserError."""
    settings = load_settings(args)
    if args.listen:
        storefront = msgspec.structs.replace(settings.storefront, listen=args.listen)
        settings = msgspec.structs.replace(settings, storefront=storefront)
    url = external_redis_url(args, settings)
    extras.require("serve", "the server of a storefront")
    from serving.storefront.server import StorefrontServer

    with stop_on_signal() as stop:
        server = StorefrontServer(settings, url, event_log(settings, url))
        spare_server()
        print(f"Lists are at {server.url}/v1/lists/home. Ctrl-C ends it.", flush=True)
        server.serve(stop)
    return 0


def event_log(settings: Settings, redis_url: str) -> CollectorLog | None:
    """The log that `collector.log` names; None for none."""
    collector = settings.collector
    if collector.log == "kafka":
        from flows.kafka.event_log import KafkaEventLog

        return KafkaEventLog(settings.kafka, collector.append_timeout_ms)
    if collector.log == "redis":
        from serving.collector.redis_log import RedisEventLog

        appender = AsyncAppender(redis_url, timeout_ms=collector.append_timeout_ms)
        return RedisEventLog(appender, collector.partitions)
    return None
