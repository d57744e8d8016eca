"""The events topic as a live source."""

from __future__ import annotations

import logging
from contextlib import closing

from flows.kafka.broker_monitor import commit_offsets
from flows.kafka.client import create_consumer, errors_as_user_errors
from flows.kafka.connection import TopicConnection
from flows.sources.live_connection import RESPONSE_TIMEOUT_MS
from flows.sources.live_source import LiveSource
from state.errors import SourceError

_log = logging.getLogger("penstock.kafka")


class KafkaSource(LiveSource):
    """The events topic, for one worker."""

    log_name = "kafka"

    def open_connection(self) -> TopicConnection:
        """Connect to the broker. Raises UserError without a broker or topic."""
        # A partition that was added since the last run is read from its beginning.
        start = "earliest" if self.known_partitions else self.settings.kafka.start
        return TopicConnection(self.settings, start)

    def missing_text(self, missing: list[str]) -> str:
        """What to say where the topic lacks partitions that the recovery folder has."""
        return (
            f"the recovery folder has partitions that Kafka does not have: {', '.join(missing)}: "
            "set kafka.topic back, or start again with an empty recovery folder"
        )

    def commit_final_offsets(self) -> None:
        """Commit the offsets of the last snapshots to the group, after a clean end of the flow."""
        if not self.snapshot_offsets:
            return
        kafka = self.settings.kafka
        try:
            client = create_consumer(
                kafka, group_id=kafka.group, bootstrap_timeout_ms=RESPONSE_TIMEOUT_MS
            )
            with closing(client), errors_as_user_errors(kafka):
                commit_offsets(client, self.snapshot_offsets)
        except SourceError as error:
            _log.warning(
                "the committed offsets of group %s are out of date: %s", kafka.group, error
            )
