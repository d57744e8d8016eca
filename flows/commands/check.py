"""`penstock check`: whether everything that a run needs works, one result on each line."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from functools import partial
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.commands.arguments import complete
from flows.commands.options import EMBEDDED, load_settings, open_store, redis_url
from flows.commands.summaries import SUMMARIES
from flows.kafka.client import create_consumer, partitions_of
from flows.kafka.start_offsets import available_offsets, first_offsets
from flows.process.embedded_redis import find_server
from flows.process.privacy_key import PRIVACY_KEY_VARIABLE, read_privacy_key
from flows.recovery.folder import inspect_folder
from flows.webhooks.delivery import secrets_of
from operators.readers.registry import record_reader
from operators.segments.estimators import check_named, named
from state import keys
from state.config_deployment import Kafka
from state.errors import ConfigurationError, RecoveryError, SourceError, StoreError, UserError
from state.printable import printable
from state.store import Lease

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from state.config import Settings
    from state.config_deployment import Endpoint


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "check",
        help=SUMMARIES["check"],
        description="Check each thing that a run needs: configuration, Kafka, Redis, recovery folder, "
        "privacy key, models of River, lease and webhooks. Print one line for each, and change nothing.",
    )
    parser.add_argument(
        "--recovery", metavar="DIR", type=Path, help="the recovery folder of the run"
    )
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Run all checks one after the other. Returns 1 if one of them fails."""
    settings = load_settings(args, require_consent_defaults=True)
    print(f"configuration  good ({settings.sha256[:12]})")
    checks: dict[str, Callable[[], str]] = {
        **(
            {"streams": lambda: _check_streams(redis_url(args, settings), settings)}
            if settings.run.source == "redis"
            else {"kafka": lambda: _check_kafka(settings)}
        ),
        "redis": lambda: _check_redis(redis_url(args, settings), settings),
        "recovery": lambda: _check_recovery(args.recovery, settings),
        "privacy": _check_privacy,
        **{
            key: partial(_check_named, key, text, settings) for key, text in named(settings).items()
        },
        "lease": lambda: _check_lease(redis_url(args, settings), settings),
        **{
            f"hooks.{name}": partial(_check_webhook, name, one)
            for name, one in _endpoints(settings)
        },
    }
    return max([_print_result(name, check) for name, check in checks.items()])


def _print_result(name: str, check: Callable[[], str]) -> int:
    try:
        print(f"{name:<13}  good ({check()})")
    except UserError as error:
        print(f"{name:<13}  NOT GOOD: {printable(str(error))}")
        return 1
    return 0


def _check_redis(url: str, settings: Settings) -> str:
    if url == EMBEDDED:
        raise ConfigurationError(
            f"redis.url is embedded ({find_server()}), which serves the demo and a replay: a run "
            "needs one that outlives it, with --redis URL or redis.url"
        )
    store = open_store(url, settings)
    store.check()
    info = store.server_info()
    if info.is_too_old:
        raise StoreError(
            f"{store.address} is {info.name} {info.version}: expected Redis 6.2 or later, or Valkey"
        )
    server = f"{info.kind} {info.name} {info.version or 'of a version it does not tell'}"
    result = f"{server} at {store.address} takes writes"
    if info.evicts_persistent_keys:
        result += (
            f"; WARNING: maxmemory-policy {info.policy} evicts segments and streams too: "
            "set volatile-lru or noeviction"
        )
    return result


def _check_recovery(folder: Path | None, settings: Settings) -> str:
    if folder is None:
        return "none named: a run that is stopped starts again from the beginning"
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        problem = "not a folder" if not existing.is_dir() else "nothing can be written there"
        raise RecoveryError(f"recovery folder {folder}: {existing}: {problem}: name another")
    return f"{folder} is new" if existing != folder else inspect_folder(folder, settings)


def _check_named(key: str, text: str, settings: Settings) -> str:
    """Describe what a key names of River, and what it costs."""
    began_s = process_time()
    rows = check_named(settings, key)
    result = f"{text}: {(process_time() - began_s) / rows * 1e6:.0f} us to learn and predict one"
    if key == "propensity.estimator":
        result += "; value_30d is of our Poisson regression"
    return result


def _check_privacy() -> str:
    """Describe the privacy key. A missing key is no error: erasure works without it."""
    if read_privacy_key():
        return f"{PRIVACY_KEY_VARIABLE} is set"
    return (
        f"{PRIVACY_KEY_VARIABLE} is not set: erasures hold, hashes of erased ids in the recovery "
        "folder are "
        "unkeyed, and no ps:1:erased is written"
    )


def _check_kafka(settings: Settings) -> str:
    kafka = settings.kafka
    record_reader(kafka.format)
    if kafka == Kafka() and not _accepts_connections(kafka.bootstrap_servers):
        raise SourceError(
            f"nothing listens at {kafka.bootstrap_servers}, the default: name yours with "
            "--set kafka.bootstrap_servers=HOST:PORT (a replay needs none)"
        )
    with closing(create_consumer(kafka, group_id=kafka.group)) as client:
        partitions = partitions_of(client, kafka, kafka.topic)
        ranges = available_offsets(client, partitions, kafka)
        offsets = first_offsets(client, ranges, kafka, "group")
    lag = sum(range_.end - offsets[partition] for partition, range_ in ranges.items())
    return (
        f"topic {kafka.topic} has {len(partitions)} partitions; group {kafka.group} is {lag} "
        "records behind"
    )


def _check_streams(url: str, settings: Settings) -> str:
    store = open_store(url, settings)
    numbers = range(settings.collector.partitions)
    with store.errors_as_user_errors():
        lengths = [store.client.xlen(keys.events_key(number)) for number in numbers]
    return f"{len(lengths)} streams have {sum(lengths)} entries, those of the last minutes included"


def _accepts_connections(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _endpoints(settings: Settings) -> list[tuple[str, Endpoint]]:
    return sorted(settings.hooks.endpoints.items())


def _check_webhook(name: str, endpoint: Endpoint) -> str:
    """Check secret and address of a webhook.

    Nothing is sent: the receiver could take it for a change.
    """
    secrets_of(name)
    parts = urlsplit(endpoint.url)
    server = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if not _accepts_connections(server):
        raise ConfigurationError(
            f"{server} takes no connection: is hooks.endpoints.{name}.url right?"
        )
    return f"{server} takes connections; {', '.join(endpoint.segments)}; there is a secret to sign with"


def _check_lease(url: str, settings: Settings) -> str:
    if url == EMBEDDED:
        return "none: it is kept in the Redis of the run"
    group = settings.kafka.group
    holder = Lease(url, group, "", 1, timeout_ms=settings.redis.timeout_ms).describe_holder()
    return f"{group} is {holder or 'free'}"
