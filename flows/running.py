"""A live run: the flow on a Kafka topic, until a flag is set, with epochs below a second."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from bytewax._bytewax import cli_main
from bytewax.errors import BytewaxRuntimeError
from threadpoolctl import threadpool_limits

from flows import metrics
from flows.health import STUCK_S
from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.kafka.source import KafkaSource
from flows.kafka.stored import stored_partitions
from flows.outside import seen_from_outside
from flows.personalize import FLOW_ID, build
from flows.recovery import recovery
from flows.replay import said_by_us, without_cycle_collector
from flows.sinks import DeadLetterSink, RedisSink
from flows.stopping import ends_soon
from state.store import Store

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event as Flag

    from state.config import Settings


def run_live(
    settings: Settings,
    stop: Flag,
    *,
    redis_url: str,
    dead_letters: Path,
    recovery_folder: Path | None,
) -> None:
    """Run until `stop` is set, then end between two batches with everything written.

    Raises UserError for what a person can mend.
    """

    def connect() -> Store:
        return Store(
            redis_url,
            timeout_ms=settings.redis.timeout_ms,
            patience_s=settings.redis.patience_s,
            replicas=settings.redis.replicas,
            waiting=metrics.redis_waits,
        )

    kafka = settings.kafka
    connect().check()
    with recovery(recovery_folder, settings) as stored:
        known = (
            stored_partitions(recovery_folder / "store", f"{FLOW_ID}.events")
            if recovery_folder
            else ()
        )
        source = KafkaSource(settings, stop, stored=known)
        flow = build(
            source,
            RedisSink(connect, measured=True),
            dead_letter_topic(kafka) if kafka.dead_letters else DeadLetterSink(dead_letters),
            settings,
            journals=stored.journals if stored else None,
            changes=change_topic(kafka) if kafka.changes else None,
        )
        try:
            # The matrices are small: more threads of BLAS would only take the core Redis works on.
            with (
                seen_from_outside(
                    settings,
                    stuck_s=STUCK_S,
                    redis_url=redis_url,
                    topic=source,
                    recovery_folder=recovery_folder,
                ),
                ends_soon(stop),
                without_cycle_collector(),
                threadpool_limits(1),
            ):
                cli_main(
                    flow,
                    epoch_interval=timedelta(milliseconds=settings.source.epoch_ms),
                    recovery_config=stored.config if stored else None,
                )
        except BytewaxRuntimeError as error:
            if said := said_by_us(error):
                raise said from None
            raise
        source.finish()
