"""How every client of ours connects, and Kafka's errors in words."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, RequestTimedOutError
from kafka.record.util import crc32c_c

from flows.kafka.security import PASSWORD_VARIABLE, USERNAME_VARIABLE, security_arguments
from state.errors import InstallationError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Kafka


class BrokerUnreachableError(SourceError):
    """The broker does not answer, and may later: it has refused nobody."""


class _ConnectionErrorRecorder(logging.Handler):
    """Why a connection failed last: kafka-python logs that and raises a timeout."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        # Of a timeout, or a closed socket, the cause was logged before, if there was another.
        if isinstance(cause, Exception) and not isinstance(cause, KafkaTimeoutError):
            text = " ".join(str(cause).split())
            is_consequence = (
                isinstance(cause, RequestTimedOutError) or "socket disconnected" in text
            )
            if not is_consequence or not self.text:
                self.text = text


# It logs every attempt to connect as an error; `flows.kafka.broker_monitor` says what that comes
# to, once.
logging.getLogger("kafka").setLevel(logging.CRITICAL)
_last_error = _ConnectionErrorRecorder()
for _logger_name in ("kafka.net.manager", "kafka.net.connection"):
    logging.getLogger(_logger_name).setLevel(logging.ERROR)
    logging.getLogger(_logger_name).propagate = False
    logging.getLogger(_logger_name).addHandler(_last_error)
# It warns of every step of a client that took a tenth of a second, as on any busy machine.
logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)

_START_BROKER = "start it, or set kafka.bootstrap_servers"
BOOTSTRAP_TIMEOUT_MS = 10_000
"""How long the first answer of a broker may take."""
REQUEST_TIMEOUT_MS = 10_000
RECONNECT_BACKOFF_MAX_MS = 1000
"""At most so long between attempts to come back to a broker that is away."""


def client_arguments(kafka: Kafka) -> dict[str, Any]:
    """The arguments that whoever reads or writes takes. Raises UserError where checksums are slow."""
    if crc32c_c is None:
        raise InstallationError(
            "the package crc32c is missing, without which Kafka is read at a fifth of the speed: "
            "install it"
        )
    return {
        **_connection_arguments(kafka),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def _connection_arguments(kafka: Kafka) -> dict[str, Any]:
    """The arguments that every client takes."""
    return {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "client_id": "penstock",
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        **security_arguments(kafka),
    }


@contextmanager
def errors_as_user_errors(kafka: Kafka) -> Iterator[None]:
    """Raise UserError for what Kafka raises while inside."""
    try:
        yield
    except KafkaTimeoutError as error:
        cause = f" ({_last_error.text})" if _last_error.text else ""
        advice = _advice(_last_error.text, kafka)
        kind = BrokerUnreachableError if advice.startswith(_START_BROKER) else SourceError
        raise kind(
            f"Kafka at {kafka.bootstrap_servers} does not answer{cause}: {advice}"
        ) from error
    except KafkaError as error:
        raise SourceError(
            f"Kafka at {kafka.bootstrap_servers}: {type(error).__name__}: {error}: see the broker's log"
        ) from error


def _advice(error_text: str, kafka: Kafka) -> str:
    credentials = f"set {USERNAME_VARIABLE}, {PASSWORD_VARIABLE} and kafka.sasl_mechanism"
    if "certificate" in error_text.lower():
        return "set kafka.ca_file to what signed its certificate"
    if "authentication" in error_text.lower():
        return credentials
    if "disconnected" in error_text and kafka.security.startswith("sasl"):
        # What a broker says before it hangs up may be lost with the connection.
        return f"{_START_BROKER}; if it runs and hangs up, {credentials}"
    return _START_BROKER


def create_consumer(kafka: Kafka, **options: Any) -> KafkaConsumer:
    """A consumer that never moves and never commits by itself. Raises UserError without a broker."""
    with errors_as_user_errors(kafka):
        return KafkaConsumer(
            **{
                **client_arguments(kafka),
                "auto_offset_reset": "none",
                "enable_auto_commit": False,
                **options,
            }
        )


def partitions_of(client: KafkaConsumer, kafka: Kafka, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, by number. Raises UserError where it does not exist."""
    with errors_as_user_errors(kafka):
        numbers = client.partitions_for_topic(topic)
    if not numbers:
        raise SourceError(
            f"Kafka at {kafka.bootstrap_servers} has no topic {topic}: create it, or name "
            "another in the configuration"
        )
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def topic_id(kafka: Kafka) -> str:
    """Kafka's id of the topic that is read; another one after it was deleted and made anew.

    "" where the broker gives none (before 2.8). Raises UserError.
    """
    with (
        errors_as_user_errors(kafka),
        closing(KafkaAdminClient(**_connection_arguments(kafka))) as client,
    ):
        id_of_topic = client.describe_topics([kafka.topic])[0].get("topic_id")
    return str(id_of_topic or "")


def partition_name(partition: TopicPartition) -> str:
    """The stored name of a partition.

    >>> partition_name(TopicPartition("shop-events", 3))
    '3-shop-events'
    """
    return f"{partition.partition}-{partition.topic}"


def parse_partition_name(name: str) -> TopicPartition:
    """The partition of a stored name.

    >>> parse_partition_name("3-shop-events")
    TopicPartition(topic='shop-events', partition=3)
    """
    number, _, topic = name.partition("-")
    return TopicPartition(topic, int(number))
