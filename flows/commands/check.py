"""`penstock check`: whether everything a run needs is there, one verdict a line."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.commands.options import EMBEDDED, add_redis, add_settings, redis_url, settings_of
from flows.kafka.client import consumer, partitions_of
from flows.kafka.start_offsets import first_offsets, held
from flows.process.embedded_redis import find_server
from flows.process.privacy_key import VARIABLE, privacy_key
from flows.recovery.folder import look
from flows.webhooks.delivery import secrets_of
from operators.readers.records import record_reader
from state.config import Kafka
from state.errors import UserError
from state.printable import printable
from state.store import Lease, Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from state.config import Endpoint, Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "check",
        help="whether configuration, Kafka, Redis, recovery folder and lease are fit for a run",
        description="Say of each thing that a run needs whether it is fit for one.",
    )
    parser.add_argument(
        "--recovery", metavar="DIR", type=Path, help="the recovery folder of the run"
    )
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check one after the other. Returns 1 where one of them is not fit."""
    settings = settings_of(args, of_people=True)
    print(f"configuration  good ({settings.sha256[:12]})")
    checks: dict[str, Callable[[], str]] = {
        "kafka": lambda: _kafka(settings),
        "redis": lambda: _redis(redis_url(args, settings), settings),
        "recovery": lambda: _recovery(args.recovery, settings),
        "privacy": _privacy,
        "lease": lambda: _lease(redis_url(args, settings), settings),
        **{f"hooks.{name}": partial(_hook, name, one) for name, one in _endpoints(settings)},
    }
    return max([_verdict(name, check) for name, check in checks.items()])


def _verdict(name: str, check: Callable[[], str]) -> int:
    try:
        print(f"{name:<13}  good ({check()})")
    except UserError as error:
        print(f"{name:<13}  NOT GOOD: {printable(str(error))}")
        return 1
    return 0


def _redis(url: str, settings: Settings) -> str:
    if url == EMBEDDED:
        raise UserError(
            f"redis.url is embedded ({find_server()}), which serves the demo and a replay: a run "
            "needs one that outlives it, with --redis URL or redis.url"
        )
    store = Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    store.check()
    about = store.about()
    if about.is_too_old:
        raise UserError(
            f"{store.address} is {about.name} {about.version}: expected Redis 6.2 or later, or Valkey"
        )
    what = f"{about.kind} {about.name} {about.version or 'of a version it does not tell'}"
    said = f"{what} at {store.address} takes writes"
    if about.evicts_what_must_stay:
        said += (
            f"; WARNING: maxmemory-policy {about.policy} evicts segments and streams too: "
            "set volatile-lru or noeviction"
        )
    return said


def _recovery(folder: Path | None, settings: Settings) -> str:
    if folder is None:
        return "none named: a run that is stopped starts again from the beginning"
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        what = "not a folder" if not there.is_dir() else "nothing can be written there"
        raise UserError(f"recovery folder {folder}: {there}: {what}: name another")
    return f"{folder} is new" if there != folder else look(folder, settings)


def _privacy() -> str:
    """Not having a key is no fault: erasure works without, and this says what does not."""
    if privacy_key():
        return f"{VARIABLE} is set"
    return (
        f"{VARIABLE} is not set: erasures hold, hashes of erased ids in the recovery folder are "
        "unkeyed, and no ps:1:erased is written"
    )


def _kafka(settings: Settings) -> str:
    kafka = settings.kafka
    record_reader(kafka.format)
    if kafka == Kafka() and not _listens(kafka.bootstrap_servers):
        raise UserError(
            f"nothing listens at {kafka.bootstrap_servers}, the default: name yours with "
            "--set kafka.bootstrap_servers=HOST:PORT (a replay needs none)"
        )
    with closing(consumer(kafka, group_id=kafka.group)) as client:
        partitions = partitions_of(client, kafka, kafka.topic)
        there = held(client, partitions, kafka)
        offsets = first_offsets(client, there, kafka, "group")
    lag = sum(found.end - offsets[one] for one, found in there.items())
    return (
        f"topic {kafka.topic} has {len(partitions)} partitions; group {kafka.group} is {lag} "
        "records behind"
    )


def _listens(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _endpoints(settings: Settings) -> list[tuple[str, Endpoint]]:
    return sorted(settings.hooks.endpoints.items())


def _hook(name: str, endpoint: Endpoint) -> str:
    """Nothing is sent: whoever receives it could take it for a change."""
    secrets_of(name)
    parts = urlsplit(endpoint.url)
    server = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if not _listens(server):
        raise UserError(f"{server} takes no connection: is hooks.endpoints.{name}.url right?")
    return f"{server} takes connections; {', '.join(endpoint.segments)}; there is a secret to sign with"


def _lease(url: str, settings: Settings) -> str:
    if url == EMBEDDED:
        return "none: it is kept in the Redis of the run"
    group = settings.kafka.group
    held_by = Lease(url, group, "", 1, timeout_ms=settings.redis.timeout_ms).held()
    return f"{group} is {held_by or 'free'}"
