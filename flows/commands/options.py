"""Options that several subcommands share, and how they combine with the configuration."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.process.embedded_redis import EmbeddedRedis
from flows.process.exit_codes import EXIT_FAILED
from flows.process.printing import print_error
from operators.segments.estimators import check_estimators
from operators.segments.rules.compiler import load_rules
from state import config_loader
from state.errors import ConfigurationError
from state.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from state.config import Settings

EMBEDDED = "embedded"


def load_settings(args: argparse.Namespace, *, require_consent_defaults: bool = False) -> Settings:
    """Return the configuration that the options name. Raises ConfigurationError.

    `require_consent_defaults` as in `config_loader.load`.
    """
    settings = config_loader.load(
        args.config, overrides=tuple(args.set), require_consent_defaults=require_consent_defaults
    )
    # An error in a rule or an estimator comes before the command begins.
    load_rules(settings)
    check_estimators(settings)
    return settings


def redis_url(args: argparse.Namespace, settings: Settings) -> str:
    """Return the URL of the options, else of the configuration; it may be `embedded`."""
    return args.redis or settings.redis.url


def external_redis_url(args: argparse.Namespace, settings: Settings) -> str:
    """Return the URL of a Redis that outlives the command. Raises ConfigurationError."""
    url = redis_url(args, settings)
    if url == EMBEDDED:
        raise ConfigurationError(
            "an embedded Redis is gone when its run ends: name one with --redis URL or redis.url"
        )
    return url


def open_store(url: str, settings: Settings) -> Store:
    """Open a Redis for a command that only reads: an error comes at once, without waiting."""
    return Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)


def open_external_store(args: argparse.Namespace, settings: Settings) -> Store:
    """Open the Redis that the options name, for reading. Raises ConfigurationError for `embedded`."""
    return open_store(external_redis_url(args, settings), settings)


def print_unknown_shopper(store: Store, shopper: str) -> int:
    """Print that Redis has nothing of a shopper, and return the exit code."""
    print_error(
        f"Redis at {store.address} knows no shopper {shopper!r}: never seen, erased, or expired"
    )
    return EXIT_FAILED


@contextmanager
def running_redis(args: argparse.Namespace, settings: Settings) -> Iterator[str]:
    """Yield the URL of the Redis to write to; an embedded one runs inside the block."""
    url = redis_url(args, settings)
    if url != EMBEDDED:
        yield url
        return
    with EmbeddedRedis() as server:
        yield server.url
