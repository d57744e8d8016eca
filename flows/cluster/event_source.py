"""The log that a live run reads, as `run.source` names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.kafka.source import KafkaSource
from flows.sources.streams.source import StreamsSource

if TYPE_CHECKING:
    from flows.cluster.run_context import RunContext
    from flows.sources.live_source import LiveSource


def open_source(context: RunContext, *, is_reader: bool = True) -> LiveSource:
    """The source of a run; it connects when its partitions are listed."""
    settings = context.settings
    if settings.run.source == "redis":
        return StreamsSource(settings, context.stop, context.connect, is_reader=is_reader)
    return KafkaSource(settings, context.stop, is_reader=is_reader)
