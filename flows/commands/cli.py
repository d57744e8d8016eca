"""The command line: one file a subcommand in `flows/commands/`, and what they have in common.

Whatever goes wrong is one line on standard error and an exit code: 2 for what the person at the
terminal can mend, 130 for Ctrl-C, 1 for the rest. To add a subcommand: one file, one line in `COMMANDS`.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.arguments import Parser
from flows.observability import logs
from flows.process.panics import capture_panics
from state import keys
from state.errors import UserError
from state.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = (
    "demo",
    "run",
    "replay",
    "evaluate",
    "tune",
    "show",
    "segments",
    "dashboard",
    "hooks",
    "redrive",
    "erase",
    "export-subject",
    "check",
)

_log = logging.getLogger(logs.ROOT_LOGGER)

FAILED, USER_ERROR, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run `penstock ARGV`; returns the exit code."""
    logs.configure()
    try:
        # Here and not above, since a second of imports is time enough for Ctrl-C.
        args = parser(sys.argv[1:] if argv is None else argv).parse_args(argv)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "stopped", debug=False)
    _merge_common_options(args)
    try:
        with capture_panics():
            code: int = args.run(args)
        sys.stdout.flush()
    except UserError as error:
        return _fail(USER_ERROR, " ".join(str(error).split()), debug=args.debug)
    except KeyboardInterrupt:
        resume_hint = ": the same command goes on where it was" if _is_resumable(args) else ""
        return _fail(INTERRUPTED, f"stopped{resume_hint}", debug=False)
    except (BrokenPipeError, SystemExit):  # rich makes the second of the first
        # Who read the output has gone; what is still buffered must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except BaseException as error:  # a panic of Bytewax is not an Exception
        details_hint = "" if args.debug else f"; details are in {_write_traceback()}"
        return _fail(FAILED, f"unforeseen {_one_line(error)}{details_hint}", debug=args.debug)
    return code


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """What the command line takes: the subcommands that `argv` may mean, all if it names none.

    Only these are imported: who looks at a list need not wait for the learners.
    """
    top = Parser(
        prog="penstock",
        description="A shop's clickstream into live segments and top-k lists in Redis.",
    )
    add = top.add_argument
    add("--config", dest="common_config", metavar="FILE", type=Path, help="a configuration file")
    add("--set", dest="common_set", metavar="A.B=C", action="append", default=[],
        help="set one configuration key; may be given again")  # fmt: skip
    add("--redis", dest="common_redis", metavar="URL", help="where Redis is (default redis.url)")
    add("--debug", action="store_true", help="show where an error came from")
    add("--version", action="version", version=f"penstock {keys.WRITER_VERSION}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for command in [name for name in COMMANDS if name in argv] or COMMANDS:
        import_module(f"flows.commands.{command.replace('-', '_')}").add_parser(subparsers)
    return top


def _merge_common_options(args: argparse.Namespace) -> None:
    """Options may stand before the subcommand or after it; the later ones win."""
    args.config = args.config or args.common_config
    args.set = [*args.common_set, *args.set]
    if "redis" in args:
        args.redis = args.redis or args.common_redis


def _is_resumable(args: argparse.Namespace) -> bool:
    return getattr(args, "recovery", None) is not None


def _fail(code: int, message: str, *, debug: bool) -> int:
    _log.error(message, exc_info=debug, extra={"event": "failed", "code": code})
    return code


def _one_line(error: BaseException) -> str:
    """What began it: Bytewax wraps whatever a step raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _write_traceback() -> str:
    """Keep the traceback in a file: a run of hours is not repeated to see it."""
    handle, path = tempfile.mkstemp(prefix="penstock-", suffix=".log")
    with open(handle, "w") as file:
        file.write(printable(traceback.format_exc(), keep="\n\t"))
    return path
