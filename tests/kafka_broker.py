"""A real Apache Kafka for tests and benchmarks: one KRaft node on a free port, in a process of its own.

The jars come through Maven once (`tests/kafka/pom.xml`) and stay in `.cache/kafka`. Needs Java 17 and
mvn. The broker can be killed and started again on the same log.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kafka import KafkaAdminClient

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

JARS = Path(__file__).parents[1] / ".cache" / "kafka"
POM = Path(__file__).parent / "kafka" / "pom.xml"
START_S = 60
JAVA = (
    "java",
    "-Xmx512m",
    "-Xms256m",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def why_not() -> str | None:
    """What is missing for a broker on this machine; None if nothing is."""
    if shutil.which("java") is None:
        return "no java in PATH (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)"
    if not any(JARS.glob("kafka_*.jar")) and shutil.which("mvn") is None:
        return "no mvn in PATH to fetch Kafka's jars (Debian, Ubuntu: apt-get install maven)"
    return None


def fetch_jars() -> Path:
    """The folder with the jars, filled when it is not there yet; several processes may ask at once."""
    if not any(JARS.glob("kafka_*.jar")):
        JARS.parent.mkdir(parents=True, exist_ok=True)
        begun = Path(tempfile.mkdtemp(dir=JARS.parent))
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        subprocess.run([*command, f"-DoutputDirectory={begun}"], check=True, capture_output=True)
        try:
            begun.rename(JARS)
        except OSError:  # another process was first
            shutil.rmtree(begun)
    return JARS


_given: set[int] = set()


def free_port() -> int:
    """A free port that was not given before."""
    while True:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


class AnyBroker:
    """A broker that runs already."""

    def __init__(self, address: str) -> None:
        self.address = address

    def create_topic(self, name: str, partitions: int = 4, **configs: str) -> str:
        """A new topic, with settings such as retention_ms="1000"; returns its name.

        The name is made unique: a broker may keep topics from one run of the tests to the next.
        """
        topic = f"penstock-{name}-{uuid.uuid4().hex[:8]}"
        config = {
            "num_partitions": partitions,
            "replication_factor": 1,
            "configs": {key.replace("_", "."): value for key, value in configs.items()},
        }
        with closing(self.admin()) as admin:
            admin.create_topics({topic: config}, wait_for_metadata=True)
        return topic

    def admin(self) -> KafkaAdminClient:
        """A client for what else a test changes; close it."""
        return KafkaAdminClient(bootstrap_servers=self.address)


class KafkaBroker(AnyBroker):
    """One node; `properties` are added to its configuration. A context manager.

    With `secure`, it listens with SASL_SSL too, at `secure_address`. With `relay_port`, also on
    `relayed_port`, and tells who comes that way that its address is the relay's.
    """

    def __init__(
        self,
        folder: Path | None = None,
        properties: Mapping[str, str] | None = None,
        *,
        secure: bool = False,
        relay_port: int | None = None,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="kafka-"))
        self._is_own = folder is None
        self.port = free_port()
        super().__init__(f"127.0.0.1:{self.port}")
        self.secure_address = f"127.0.0.1:{free_port()}" if secure else None
        self.relay_port, self.relayed_port = relay_port, free_port()
        self.log = self.folder / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._configure(properties or {})

    def __enter__(self) -> KafkaBroker:
        self.start()
        return self

    def __exit__(self, *failed: object) -> None:
        self.stop()
        if self._is_own and failed[0] is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process of a broker that has been started."""
        assert self._process is not None
        return self._process.pid

    def _configure(self, properties: Mapping[str, str]) -> None:
        controller = free_port()
        public = f"PLAINTEXT://{self.address}"
        if self.secure_address:
            public += f",SASL_SSL://{self.secure_address}"
        bound = advertised = public
        if self.relay_port:
            bound += f",RELAY://127.0.0.1:{self.relayed_port}"
            advertised += f",RELAY://127.0.0.1:{self.relay_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"{bound},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": advertised,
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,RELAY:PLAINTEXT,SASL_SSL:SASL_SSL"
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A node that was killed is taken back when its old session has run out.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            "auto.create.topics.enable": "false",
            "num.partitions": "4",
        }
        settings |= properties
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (self.folder / "server.properties").write_text("".join(lines))

    def _java(self, main: str, *arguments: str) -> list[str]:
        return [*JAVA, "-cp", f"{fetch_jars()}/*", main, *arguments]

    def start(self) -> None:
        """Start the node, formatting its disk the first time; return when it answers."""
        config = str(self.folder / "server.properties")
        if not (self.folder / "data" / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            command = self._java(
                "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", config
            )
            formatted = subprocess.run(command, check=False, capture_output=True, text=True)
            if formatted.returncode:
                raise RuntimeError(f"Kafka's disk: {formatted.stdout}{formatted.stderr}")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", config),
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C"},
            )
        until = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Kafka did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, as SIGSTOP and SIGCONT for a broker that hangs."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9; `start` brings it back with what it had on disk."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process; its disk stays until the context ends."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
