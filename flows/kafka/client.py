"""Connection settings of all Kafka clients, and Kafka's errors as UserErrors."""

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

    from state.config_deployment import Kafka


class BrokerUnreachableError(SourceError):
    """The broker does not answer now. It refused nothing, so waiting may help."""


class _ConnectionErrorRecorder(logging.Handler):
    """Records why the last connection failed: kafka-python only logs that, and raises a timeout."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        # A timeout or a closed socket often follows from an earlier error: keep that one.
        if isinstance(cause, Exception) and not isinstance(cause, KafkaTimeoutError):
            text = " ".join(str(cause).split())
            is_consequence = (
                isinstance(cause, RequestTimedOutError) or "socket disconnected" in text
            )
            if not is_consequence or not self.text:
                self.text = text


# kafka-python logs every attempt to connect as an error; `broker_monitor` logs an outage once.
logging.getLogger("kafka").setLevel(logging.CRITICAL)
_last_error = _ConnectionErrorRecorder()
for _logger_name in ("kafka.net.manager", "kafka.net.connection"):
    logging.getLogger(_logger_name).setLevel(logging.ERROR)
    logging.getLogger(_logger_name).propagate = False
    logging.getLogger(_logger_name).addHandler(_last_error)
# kafka-python warns of every client step that takes a tenth of a second, as on any busy machine.
logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)

_START_BROKER = "start it, or set kafka.bootstrap_servers"
BOOTSTRAP_TIMEOUT_MS = 10_000
"""Timeout of the first response of a broker."""
REQUEST_TIMEOUT_MS = 10_000
RECONNECT_BACKOFF_MAX_MS = 1000
"""The longest pause between attempts to reconnect."""


def client_arguments(kafka: Kafka) -> dict[str, Any]:
    """The arguments of a consumer or producer. Raises UserError if fast checksums are missing."""
    if crc32c_c is None:
        raise InstallationError(
            "the package crc32c is missing: without it Kafka is read at a fifth of the speed; "
            "install it"
        )
    return {
        **_connection_arguments(kafka),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def _connection_arguments(kafka: Kafka) -> dict[str, Any]:
    """The arguments of every client."""
    return {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "client_id": "penstock",
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
        **security_arguments(kafka),
    }


@contextmanager
def errors_as_user_errors(kafka: Kafka) -> Iterator[None]:
    """Turn Kafka's exceptions inside into UserErrors with advice."""
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
        return "set kafka.ca_file to the CA that signed its certificate"
    if "authentication" in error_text.lower():
        return credentials
    if "disconnected" in error_text and kafka.security.startswith("sasl"):
        # The broker's error may be lost when it closes the connection.
        return f"{_START_BROKER}; if it runs and closes the connection, {credentials}"
    return _START_BROKER


def create_consumer(kafka: Kafka, **options: Any) -> KafkaConsumer:
    """A consumer without automatic offsets or commits. Raises UserError without a broker."""
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
    """The partitions of a topic, by number. Raises UserError if the topic does not exist."""
    with errors_as_user_errors(kafka):
        numbers = client.partitions_for_topic(topic)
    if not numbers:
        raise SourceError(
            f"Kafka at {kafka.bootstrap_servers} has no topic {topic}: create it, or name "
            "another in the configuration"
        )
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def topic_id(kafka: Kafka) -> str:
    """Kafka's id of the events topic, which changes when the topic is deleted and recreated.

    "" if the broker has no topic ids (before 2.8). Raises UserError.
    """
    with (
        errors_as_user_errors(kafka),
        closing(KafkaAdminClient(**_connection_arguments(kafka))) as client,
    ):
        id_of_topic = client.describe_topics([kafka.topic])[0].get("topic_id")
    return str(id_of_topic or "")
