"""Builds the flow for Bytewax's own command line, which can do less than `penstock run`.

`python -m bytewax.run flows.personalize:flow` has epochs of whole seconds and stores no state: there is
no lease, no supervisor and no recovery folder, and Bytewax prints errors itself.
"""

from __future__ import annotations

import argparse
import atexit
import logging
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bytewax.run import _parse_args

from flows.cluster.dependencies import wait_for_log, wait_for_redis
from flows.cluster.event_source import open_source
from flows.cluster.run_context import RunContext
from flows.commands.options import external_redis_url
from flows.observability import logs
from flows.process.exit_codes import EXIT_USER_ERROR
from flows.process.kernel_cache import prepare_kernels
from flows.process.shutdown import kill_after_grace, stop_on_signal
from flows.runtime.live_flow import live_flow
from state import config_loader
from state.errors import ConfigurationError, UserError

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow

_log = logging.getLogger(logs.ROOT_LOGGER)


def build_for_bytewax_run() -> Dataflow:
    """Build the flow of the configuration. Exits with one line for an error that the user can fix."""
    logs.configure()
    try:
        _check_flags()
        return _build_flow()
    except UserError as error:
        _log.error("%s", " ".join(str(error).split()), extra={"event": "failed"})
        raise SystemExit(EXIT_USER_ERROR) from error


def _build_flow() -> Dataflow:
    settings = config_loader.load(require_consent_defaults=True)
    logs.configure(settings.log)
    redis_url = external_redis_url(argparse.Namespace(redis=None), settings)
    # Bytewax runs the flow after this function has returned, so the stop flag lives until the exit.
    exit_stack = ExitStack()
    atexit.register(exit_stack.close)
    stop = exit_stack.enter_context(stop_on_signal())
    exit_stack.enter_context(kill_after_grace(stop))
    context = RunContext(settings, redis_url, stop)
    source = open_source(context)
    if not (wait_for_redis(context) and wait_for_log(source, context)):
        raise SystemExit(0)
    prepare_kernels(settings, None)
    return live_flow(source, context, journals=None, fence=None)


def _check_flags() -> None:
    if Path(sys.argv[0]).parts[-2:] != ("bytewax", "run.py"):
        return
    args = _parse_args()
    if args.recovery_directory is not None:
        raise ConfigurationError(
            "Bytewax's -r does not hold the state of this flow: use penstock run --recovery DIR"
        )
    if args.addresses is not None or (args.workers_per_process or 1) > 1:
        raise ConfigurationError(
            "this flow has one worker under bytewax.run: use penstock run --processes N"
        )
