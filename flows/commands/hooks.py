"""`penstock hooks`: sends segment changes to webhooks until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.arguments import complete
from flows.commands.options import external_redis_url, load_settings
from flows.commands.summaries import SUMMARIES
from flows.observability import logs
from flows.process.exit_codes import EXIT_FAILED
from flows.process.shutdown import stop_on_signal
from flows.webhooks.delivery import secrets_of
from flows.webhooks.process import redeliver_dead, run_webhooks
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "hooks",
        help=SUMMARIES["hooks"],
        description="Send every change to the webhooks of the configuration, until Ctrl-C or SIGTERM.",
    )
    parser.add_argument(
        "--again",
        metavar="ENDPOINT",
        help="send the dead letters of one endpoint again, then end; `all`: those of all endpoints",
    )
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Run until a signal arrives, or until the dead letters were sent. Raises UserError."""
    settings = load_settings(args)
    logs.configure(settings.log)
    redis_url = external_redis_url(args, settings)
    endpoints = settings.hooks.endpoints
    if not endpoints:
        raise ConfigurationError(
            "there is no webhook: name endpoints in hooks.endpoints of the configuration"
        )
    for name in endpoints:
        secrets_of(name)
    with stop_on_signal() as stop:
        if args.again is None:
            run_webhooks(settings, redis_url, stop)
            return 0
        if args.again not in (*endpoints, "all"):
            raise ConfigurationError(f"--again {args.again}: endpoints are {', '.join(endpoints)}")
        names = [*endpoints] if args.again == "all" else [args.again]
        sent, failed = redeliver_dead(settings, redis_url, stop, names)
        print(f"{sent:,} dead letters were taken, {failed:,} were not and stay")
        return EXIT_FAILED if failed else 0
