"""`penstock check`: whether everything a run needs is there, one verdict a line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flows.embedded import find_server
from flows.options import EMBEDDED, add_redis, add_settings, redis_url, settings_of
from flows.recovery import recovery
from state.errors import UserError
from state.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from state.config import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "check",
        help="whether configuration, Redis and recovery folder are fit for a run",
        description="Say of configuration, Redis and recovery folder whether they are fit for a run.",
    )
    parser.add_argument(
        "--recovery", metavar="DIR", type=Path, help="the recovery folder of the run"
    )
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check one after the other. Returns 1 where one of them is not fit."""
    settings = settings_of(args)
    print(f"configuration  good ({settings.sha256[:12]})")
    checks: dict[str, Callable[[], str]] = {
        "redis": lambda: _redis(redis_url(args, settings), settings),
        "recovery": lambda: _recovery(args.recovery, settings),
    }
    return max([_verdict(name, check) for name, check in checks.items()])


def _verdict(name: str, check: Callable[[], str]) -> int:
    try:
        print(f"{name:<13}  good ({check()})")
    except UserError as error:
        print(f"{name:<13}  NOT GOOD: {error}")
        return 1
    return 0


def _redis(url: str, settings: Settings) -> str:
    if url == EMBEDDED:
        return f"embedded, a server of the run's own: {find_server()}"
    store = Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    store.check()
    return f"{store.address} takes writes"


def _recovery(folder: Path | None, settings: Settings) -> str:
    if folder is None:
        return "none named: a run that is stopped starts again from the beginning"
    parent = folder.parent
    if not folder.exists() and parent.is_dir() and os.access(parent, os.W_OK):
        return f"{folder} is new"
    with recovery(folder, settings):
        return f"{folder} is free and sound"
