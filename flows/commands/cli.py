"""The command line. Each subcommand is one file in `flows/commands/`.

Every error is one line on standard error and an exit code: 2 for an error that the user can fix
(`state.errors`), 130 for Ctrl-C, 1 for all others. To add a subcommand: one file, one line in
`flows/commands/summaries.py`.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flows.commands.arguments import Parser, add_common_options
from flows.commands.summaries import SUMMARIES
from flows.observability import logs
from flows.process.exit_codes import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_STOPPED, EXIT_USER_ERROR
from flows.process.panics import capture_panics
from state import keys
from state.errors import UserError
from state.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = tuple(SUMMARIES)

_log = logging.getLogger(logs.ROOT_LOGGER)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `penstock ARGV` and return the exit code."""
    logs.configure()
    try:
        # Inside the try block: the imports take about a second, and Ctrl-C may come meanwhile.
        words = sys.argv[1:] if argv is None else argv
        has_command = any(name in words for name in COMMANDS)
        args = (parser(words) if has_command else _overview()).parse_args(argv)
    except KeyboardInterrupt:
        return _fail(EXIT_STOPPED, "stopped", debug=False)
    _merge_common_options(args)
    try:
        with capture_panics():
            code: int = args.run(args)
        sys.stdout.flush()
    except UserError as error:
        return _fail(EXIT_USER_ERROR, " ".join(str(error).split()), debug=args.debug)
    except KeyboardInterrupt:
        resume_hint = ": the same command goes on where it was" if _is_resumable(args) else ""
        return _fail(EXIT_STOPPED, f"stopped{resume_hint}", debug=False)
    except (BrokenPipeError, SystemExit):  # rich turns the first into the second
        # The reader of the output is gone; flushing the buffer at exit must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except BaseException as error:  # a panic of Bytewax is not an Exception
        details_hint = "" if args.debug else f"; details are in {_write_traceback()}"
        return _fail(EXIT_FAILED, f"unforeseen {_one_line(error)}{details_hint}", debug=args.debug)
    return code


def parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the parser with the subcommands that occur in `argv`; with none in it, those of all.

    Only these are imported, so that `penstock show` does not wait for the import of the models.
    """
    named = [name for name in COMMANDS if name in argv] or COMMANDS
    top, subparsers = _top_parser()
    for command in named:
        import_module(f"flows.commands.{command.replace('-', '_')}").add_parser(subparsers)
    return top


def _overview() -> argparse.ArgumentParser:
    """The parser without a subcommand, for the help and for errors: it imports none."""
    top, subparsers = _top_parser()
    for command, summary in SUMMARIES.items():
        subparsers.add_parser(command, help=summary)
    return top


def _top_parser() -> tuple[argparse.ArgumentParser, Any]:
    top = Parser(
        prog="penstock",
        description="A shop's clickstream into live segments and top-k lists in Redis.",
    )
    add = top.add_argument
    add_common_options(top, prefix="common_")
    add("--debug", action="store_true", help="show the traceback of an error")
    add("--version", action="version", version=f"penstock {keys.WRITER_VERSION}")
    return top, top.add_subparsers(metavar="COMMAND", required=True)


def _merge_common_options(args: argparse.Namespace) -> None:
    """Merge the options before the subcommand with those after it; the later ones win."""
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
    """Return the first cause in one line: Bytewax wraps every error that a step raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _write_traceback() -> str:
    """Write the traceback to a file, since nobody repeats a run of hours to see it. Return the path."""
    handle, path = tempfile.mkstemp(prefix="penstock-", suffix=".log")
    with open(handle, "w") as file:
        file.write(printable(traceback.format_exc(), keep="\n\t"))
    return path
