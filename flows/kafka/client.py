"""How every client of ours connects, and Kafka's errors in words."""

from __future__ import annotations

import logging
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, RequestTimedOutError
from kafka.record.util import crc32c_c

from flows.kafka.security import PASSWORD, USERNAME, security
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Kafka


class NoAnswerError(UserError):
    """The broker does not answer, and may later: it has refused nobody."""


class _LastRefusal(logging.Handler):
    """Why a connection failed last: kafka-python logs that and raises a timeout."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""

    def emit(self, record: logging.LogRecord) -> None:
        why = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        # Of a timeout, or a closed socket, the cause was logged before, if there was another.
        if isinstance(why, Exception) and not isinstance(why, KafkaTimeoutError):
            said = " ".join(str(why).split())
            is_its_end = isinstance(why, RequestTimedOutError) or "socket disconnected" in said
            if not is_its_end or not self.said:
                self.said = said


# It logs every attempt to connect as an error; `flows.kafka.broker_monitor` says what that comes
# to, once.
logging.getLogger("kafka").setLevel(logging.CRITICAL)
_refusal = _LastRefusal()
for _room in ("kafka.net.manager", "kafka.net.connection"):
    logging.getLogger(_room).setLevel(logging.ERROR)
    logging.getLogger(_room).propagate = False
    logging.getLogger(_room).addHandler(_refusal)
# It warns of every step of a client that took a tenth of a second, as on any busy machine.
logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)

_START_IT = "start it, or set kafka.bootstrap_servers"
BOOTSTRAP_MS = 10_000
"""How long the first answer of a broker may take."""
REQUEST_MS = 10_000
RECONNECT_MS = 1000
"""At most so long between attempts to come back to a broker that is away."""


def connection(kafka: Kafka) -> dict[str, Any]:
    """The arguments that whoever reads or writes takes. Raises UserError where checksums are slow."""
    if crc32c_c is None:
        raise UserError(
            "the package crc32c is missing, without which Kafka is read at a fifth of the speed: "
            "install it"
        )
    return {**_reaching(kafka), "allow_auto_create_topics": False, "metrics_enabled": False}


def _reaching(kafka: Kafka) -> dict[str, Any]:
    """The arguments that every client takes."""
    return {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap_servers.split(",")],
        "client_id": "penstock",
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "reconnect_backoff_max_ms": RECONNECT_MS,
        **security(kafka),
    }


@contextmanager
def in_words(kafka: Kafka) -> Iterator[None]:
    """Raise UserError for what Kafka raises while inside."""
    try:
        yield
    except KafkaTimeoutError as error:
        why = f" ({_refusal.said})" if _refusal.said else ""
        advice = _advice(_refusal.said, kafka)
        kind = NoAnswerError if advice.startswith(_START_IT) else UserError
        raise kind(f"Kafka at {kafka.bootstrap_servers} does not answer{why}: {advice}") from error
    except KafkaError as error:
        raise UserError(
            f"Kafka at {kafka.bootstrap_servers}: {type(error).__name__}: {error}"
        ) from error


def _advice(refusal: str, kafka: Kafka) -> str:
    credentials = f"set {USERNAME}, {PASSWORD} and kafka.sasl_mechanism"
    if "certificate" in refusal.lower():
        return "set kafka.ca_file to what signed its certificate"
    if "authentication" in refusal.lower():
        return credentials
    if "disconnected" in refusal and kafka.security.startswith("sasl"):
        # What a broker says before it hangs up may be lost with the connection.
        return f"{_START_IT}; if it runs and hangs up, {credentials}"
    return _START_IT


def consumer(kafka: Kafka, **options: Any) -> KafkaConsumer:
    """A consumer that never moves and never commits by itself. Raises UserError without a broker."""
    with in_words(kafka):
        return KafkaConsumer(
            **{
                **connection(kafka),
                "auto_offset_reset": "none",
                "enable_auto_commit": False,
                **options,
            }
        )


def partitions_of(client: KafkaConsumer, kafka: Kafka, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, by number. Raises UserError where it does not exist."""
    with in_words(kafka):
        found = client.partitions_for_topic(topic)
    if not found:
        raise UserError(
            f"Kafka at {kafka.bootstrap_servers} has no topic {topic}: create it, or name "
            "another in the configuration"
        )
    return [TopicPartition(topic, number) for number in sorted(found)]


def topic_id(kafka: Kafka) -> str:
    """Kafka's id of the topic that is read; another one after it was deleted and made anew.

    "" where the broker gives none (before 2.8). Raises UserError.
    """
    with in_words(kafka), closing(KafkaAdminClient(**_reaching(kafka))) as client:
        found = client.describe_topics([kafka.topic])[0].get("topic_id")
    return str(found or "")


def part_name(partition: TopicPartition) -> str:
    """The stored name of a partition.

    >>> part_name(TopicPartition("shop-events", 3))
    '3-shop-events'
    """
    return f"{partition.partition}-{partition.topic}"


def partition_named(name: str) -> TopicPartition:
    """The partition of a stored name.

    >>> partition_named("3-shop-events")
    TopicPartition(topic='shop-events', partition=3)
    """
    number, _, topic = name.partition("-")
    return TopicPartition(topic, int(number))
