"""Options that several subcommands take, and what they mean together."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.process.embedded_redis import EmbeddedRedis
from operators.segments.rules.compiler import load_rules
from state import config
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from state.config import Settings

EMBEDDED = "embedded"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--set`."""
    add = parser.add_argument
    add("--config", metavar="FILE", type=Path, help="configuration (default config.yaml)")
    add("--set", metavar="A.B=C", action="append", default=[], help="set one configuration key")


def add_redis(parser: argparse.ArgumentParser) -> None:
    """`--redis`."""
    parser.add_argument(
        "--redis", metavar="URL", help="where Redis is (default redis.url of the configuration)"
    )


def load_settings(args: argparse.Namespace, *, require_consent_defaults: bool = False) -> Settings:
    """The configuration that the options name, `require_consent_defaults` as in `config.load`.
    Raises UserError."""
    settings = config.load(
        args.config, overrides=tuple(args.set), require_consent_defaults=require_consent_defaults
    )
    load_rules(settings)  # what is wrong with them is said before anything begins
    return settings


def redis_url(args: argparse.Namespace, settings: Settings) -> str:
    """The URL that was named, or `embedded`."""
    return args.redis or settings.redis.url


def external_redis_url(args: argparse.Namespace, settings: Settings) -> str:
    """The URL of a Redis that others write to. Raises UserError where none was named."""
    url = redis_url(args, settings)
    if url == EMBEDDED:
        raise ConfigurationError(
            "an embedded Redis is gone when its run ends: name one with --redis URL or redis.url"
        )
    return url


@contextmanager
def running_redis(args: argparse.Namespace, settings: Settings) -> Iterator[str]:
    """The URL of the Redis to write to, started for the time inside where it is the embedded one."""
    url = redis_url(args, settings)
    if url != EMBEDDED:
        yield url
        return
    with EmbeddedRedis() as server:
        yield server.url
