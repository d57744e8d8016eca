"""`penstock warm`: compile the kernels into their cache folder, so that the first start is quick."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.arguments import complete
from flows.commands.options import load_settings
from flows.commands.summaries import SUMMARIES
from flows.process.kernel_cache import cache_folder
from operators.kernels import compiler
from state.errors import InstallationError

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "warm",
        help=SUMMARIES["warm"],
        description="Compile the inner loops into runtime.kernel_cache, and remove what other "
        "releases left there. An image build runs this once.",
    )
    parser.add_argument(
        "--recovery", metavar="DIR", type=Path, help="the recovery folder of the run"
    )
    complete(parser, run, redis=False)


def run(args: argparse.Namespace) -> int:
    """Compile all kernels, and print how many came from the cache."""
    folder = cache_folder(load_settings(args), args.recovery)
    began_s = time.monotonic()
    try:
        compiler.use_cache(folder)
        compiler.remove_stale(folder)
    except OSError as error:
        raise InstallationError(
            f"{folder} cannot be written ({error.strerror}): name another folder, "
            "for instance --set runtime.kernel_cache=DIR"
        ) from error
    cached = [is_cached for _, is_cached in compiler.compile_all()]
    print(
        f"{len(cached)} kernels: {cached.count(True)} from the cache, {cached.count(False)} compiled "
        f"in {time.monotonic() - began_s:.1f} s, in {folder}"
    )
    return 0
