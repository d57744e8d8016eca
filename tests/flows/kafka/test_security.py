"""A real broker that accepts only known users, over TLS."""

from __future__ import annotations

import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from kafka.admin import UserScramCredentialUpsertion

from flows.kafka import client
from flows.kafka.source import KafkaSource
from state import config_loader
from state.errors import ConfigurationError, SourceError, UserError
from tests.kafka_broker import KafkaBroker
from tests.kafka_runs import Run, event, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, WORD = "penstock", "a secret"
SASL = "org.apache.kafka.common.security"


@pytest.fixture(scope="module")
def secure_broker(
    own_kafka: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaBroker]:
    folder = tmp_path_factory.mktemp("secure")
    store = folder / "broker.p12"
    keytool = ["keytool", "-keystore", str(store), "-storepass", "changeit", "-alias", "broker"]
    made = ["-genkeypair", "-keyalg", "RSA", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1"]
    subprocess.run([*keytool, *made, "-storetype", "PKCS12"], check=True, capture_output=True)
    told = ["-exportcert", "-rfc", "-file", str(folder / "ca.pem")]
    subprocess.run([*keytool, *told], check=True, capture_output=True)
    listener = "listener.name.sasl_ssl"
    properties = {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        f"{listener}.plain.sasl.jaas.config": (
            f'{SASL}.plain.PlainLoginModule required user_{USER}="{WORD}";'
        ),
        f"{listener}.scram-sha-512.sasl.jaas.config": f"{SASL}.scram.ScramLoginModule required;",
        "ssl.keystore.location": str(store),
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.password": "changeit",
    }
    with KafkaBroker(folder, properties, secure=True) as broker:
        with closing(broker.admin()) as admin:
            admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(USER, "SCRAM-SHA-512", WORD)]
            )
        yield broker


def secure(broker: KafkaBroker, topic: str, folder: Path, **kafka: object) -> Run:
    sets = {"security": "sasl_ssl", "ca_file": broker.folder / "ca.pem", **kafka}
    run = Run(broker, topic, folder, **sets)
    address = f"kafka.bootstrap_servers={broker.secure_address}"
    overrides = [f"kafka.{name}={value}" for name, value in {"topic": topic, **sets}.items()]
    run.settings = config_loader.load(overrides=(address, *overrides), environment={})
    return run


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA_USERNAME", USER)
    monkeypatch.setenv("PENSTOCK_KAFKA_PASSWORD", WORD)
    monkeypatch.setattr(client, "BOOTSTRAP_TIMEOUT_MS", 2000)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_known_user_can_read(secure_broker: KafkaBroker, tmp_path: Path, mechanism: str) -> None:
    topic = secure_broker.create_topic("secure", partitions=1)
    send(secure_broker, topic, map(event, range(10)))
    run = secure(secure_broker, topic, tmp_path, sasl_mechanism=mechanism)
    run.until(lambda: len(run.ids) >= 10)
    assert run.ids == list(range(10))


def test_a_wrong_password_is_a_clear_error(
    secure_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: None
) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA_PASSWORD", "another")
    run = secure(secure_broker, "any", tmp_path)
    with pytest.raises(
        UserError, match=r"(Authentication|disconnected).* set .*PENSTOCK_KAFKA_PASSWORD"
    ):
        KafkaSource(run.settings, run.stop).list_parts()


@pytest.mark.usefixtures("known")
def test_an_untrusted_certificate_is_a_clear_error(
    secure_broker: KafkaBroker, tmp_path: Path
) -> None:
    run = secure(secure_broker, "any", tmp_path, ca_file="''")
    with pytest.raises(SourceError, match=r"certificate.* set kafka\.ca_file"):
        KafkaSource(run.settings, run.stop).list_parts()


def test_a_missing_user_names_the_variables_to_set(tmp_path: Path) -> None:
    settings = config_loader.load(overrides=("kafka.security=sasl_ssl",), environment={})
    with pytest.raises(
        ConfigurationError, match="PENSTOCK_KAFKA_USERNAME and PENSTOCK_KAFKA_PASSWORD"
    ):
        KafkaSource(settings, threading.Event()).list_parts()


def test_a_missing_certificate_file_is_named() -> None:
    settings = config_loader.load(
        overrides=("kafka.security=ssl", "kafka.ca_file=nowhere.pem"), environment={}
    )
    with pytest.raises(ConfigurationError, match=r"kafka\.ca_file: No such file or directory"):
        KafkaSource(settings, threading.Event()).list_parts()
