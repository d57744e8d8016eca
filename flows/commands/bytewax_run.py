"""The flow for Bytewax's own command line, which is no `penstock run`.

`python -m bytewax.run flows.personalize:flow` sets epochs in whole seconds and stores nothing: there is
no lease, no supervisor and no recovery folder, and Bytewax shows errors in its own way.
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

from flows.cluster.dependencies import kafka_answers, redis_answers
from flows.cluster.leadership import USER_ERROR
from flows.cluster.placement import ALONE
from flows.commands.options import lasting_redis_url
from flows.kafka.source import KafkaSource
from flows.observability import logs
from flows.process.shutdown import ends_soon, stop_on_signal
from flows.runtime.live import live_flow
from flows.sinks.redis import DEAD_LETTERS_FILE
from state import config
from state.errors import UserError

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow

_log = logging.getLogger(logs.OURS)


def flow_for_bytewax() -> Dataflow:
    """The flow that the configuration describes. Exits with one line on what a person can mend."""
    logs.set_up()
    try:
        _refuse_what_does_not_work()
        return _flow()
    except UserError as error:
        _log.error("%s", " ".join(str(error).split()), extra={"event": "failed"})
        raise SystemExit(USER_ERROR) from error


def _flow() -> Dataflow:
    settings = config.load(of_people=True)
    logs.set_up(settings.log)
    redis_url = lasting_redis_url(argparse.Namespace(redis=None), settings)
    # Bytewax runs the flow after we have returned: the flag is ours until the process ends.
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    stop = until_the_end.enter_context(stop_on_signal())
    until_the_end.enter_context(ends_soon(stop))
    source = KafkaSource(settings, stop)
    if not (redis_answers(redis_url, settings, stop) and kafka_answers(source, stop)):
        raise SystemExit(0)
    return live_flow(
        source,
        settings,
        place=ALONE,
        redis_url=redis_url,
        dead_letters=DEAD_LETTERS_FILE,
        journals=None,
        fence=None,
    )


def _refuse_what_does_not_work() -> None:
    if Path(sys.argv[0]).parts[-2:] != ("bytewax", "run.py"):
        return
    args = _parse_args()
    if args.recovery_directory is not None:
        raise UserError(
            "Bytewax's -r does not hold the state of this flow: use penstock run --recovery DIR"
        )
    if args.addresses is not None or (args.workers_per_process or 1) > 1:
        raise UserError(
            "this flow has one worker under bytewax.run: use penstock run --processes N"
        )
