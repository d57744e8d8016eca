"""`penstock run`: reads events from Kafka and writes results to Redis until it is stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flows.cluster.placement import ClusterPosition
from flows.cluster.run_context import RunContext
from flows.cluster.supervisor import run_supervised
from flows.cluster.worker_process import attach_to_supervisor, is_supervised
from flows.commands.arguments import complete
from flows.commands.options import external_redis_url, load_settings
from flows.commands.summaries import SUMMARIES
from flows.observability import logs
from flows.process.exit_codes import EXIT_FAILED
from flows.process.shutdown import stop_on_signal
from flows.runtime.live import run_live
from flows.sinks.dead_letters import DEAD_LETTERS_FILE
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

PROCESSES_MAX = 64


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help=SUMMARIES["run"],
        description="Read events from Kafka or Redis Streams and write profiles, segments and lists "
        "to Redis, until Ctrl-C or SIGTERM.",
    )
    add = parser.add_argument
    add(
        "--recovery",
        metavar="DIR",
        type=Path,
        help="folder for snapshots: a run that was stopped or killed continues from the last one",
    )
    add(
        "--source",
        choices=("kafka", "redis"),
        help="read Kafka, or the event streams in Redis that penstock serve writes "
        "(default: run.source)",
    )
    add(
        "--dead-letters",
        metavar="FILE",
        type=Path,
        default=DEAD_LETTERS_FILE,
        help="file for rejected records (default: %(default)s)",
    )
    add(
        "--processes",
        metavar="N",
        type=int,
        help="run N processes on this host; all restart when one of them ends or is stuck",
    )
    add(
        "-i",
        "--process-id",
        metavar="I",
        type=int,
        default=os.environ.get("BYTEWAX_PROCESS_ID", "0"),
        help="number of this process in a run on several hosts, counted from 0",
    )
    add(
        "-a",
        "--addresses",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="address of each process of the run; give all of them, in the same order on all hosts",
    )
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Run until a signal arrives. Raises UserError."""
    settings = load_settings(args, require_consent_defaults=True)
    if args.source:
        section = msgspec.structs.replace(settings.run, source=args.source)
        settings = msgspec.structs.replace(settings, run=section)
    position = _cluster_position(args)
    logs.configure(settings.log, **({"worker": position.process} if position.addresses else {}))
    redis_url = external_redis_url(args, settings)
    if is_supervised():
        attach_to_supervisor()
    with stop_on_signal() as stop:
        context = RunContext(settings, redis_url, stop, args.dead_letters, args.recovery, position)
        if args.processes:
            return run_supervised(sys.argv[1:], context, args.processes)
        while not stop.is_set():
            run_live(context)
            if position.addresses and not stop.is_set():
                return EXIT_FAILED  # the platform that started the processes restarts them all
    return 0


def _cluster_position(args: argparse.Namespace) -> ClusterPosition:
    options = args.addresses or [os.environ.get("BYTEWAX_ADDRESSES", "")]
    addresses = tuple(one for some in options for one in some.split(";") if one)
    if is_supervised():
        args.processes = None
        return ClusterPosition(args.process_id, addresses)
    if args.processes is not None and not 1 <= args.processes <= PROCESSES_MAX:
        raise ConfigurationError(f"--processes {args.processes}: name 1 to {PROCESSES_MAX}")
    if args.processes and addresses:
        raise ConfigurationError(
            "--processes is for one host and -a for several: leave one of them out"
        )
    if (args.processes or addresses) and args.recovery is None:
        raise ConfigurationError(
            "several processes need a folder to start again from, which all of them see: name one "
            "with --recovery"
        )
    for one in addresses:
        if not one.rpartition(":")[0] or not one.rpartition(":")[2].isdigit():
            raise ConfigurationError(f"-a {one}: name a host and a port, as in -a host-a:9500")
    if len(set(addresses)) < len(addresses) or len(addresses) > PROCESSES_MAX:
        raise ConfigurationError(f"-a: name 1 to {PROCESSES_MAX} different addresses")
    if not 0 <= args.process_id < max(1, len(addresses)):
        raise ConfigurationError(
            f"-i {args.process_id}: -a names {len(addresses)} processes, counted from 0"
        )
    return ClusterPosition(args.process_id, addresses)
