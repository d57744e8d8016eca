"""A world to break: a real Kafka broker, a real Redis, and `penstock run` in processes of their own."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from kafka import KafkaProducer

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from state.store import Store
from tests.chaos.proxy import Proxy
from tests.kafka_broker import KafkaBroker, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from tests.chaos.shop import Record

PARTITIONS = 4
EPOCH_MS = 250
DRAIN_S = 120
STOP_S = 30
READY_S = 60
QUIET_S = 1.5


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


class Worker:
    """A `penstock run`, one process or a supervised cluster; `stderr_text` is what it printed."""

    def __init__(self, arguments: Sequence[str], log: Path, ports: Sequence[int]) -> None:
        self._log = log
        self._ports = ports
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows", "run", *arguments],
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def stderr_text(self) -> str:
        """All that its processes have printed so far."""
        return self._log.read_text(errors="replace")

    def children(self) -> list[int]:
        """The processes of the cluster that a supervisor has started, by number."""
        mine = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for task in mine for pid in task.read_text().split()]
        arguments = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in pids}
        workers = {
            int(argv[argv.index(b"-i") + 1]): pid
            for pid, argv in arguments.items()
            if b"-i" in argv
        }
        return [workers[number] for number in sorted(workers)]

    def kill(self) -> None:
        """kill -9, with all that it started."""
        # What it has started sees that it is gone, and ends.
        self.process.kill()
        self.process.wait()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def wait_ready(self) -> None:
        """Return when every process has resumed, and Redis and Kafka answer it."""
        until_s = time.monotonic() + READY_S
        while not all(map(_is_ready, self._ports)):
            assert self.is_alive, f"the worker ended: {self.stderr_text[-3000:]}"
            assert time.monotonic() < until_s, (
                f"not ready in {READY_S} s: {self.stderr_text[-3000:]}"
            )
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


class World:
    """One broker and one Redis for a scenario after the other; each has a topic of its own."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._names = itertools.count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="chaos-"))

    def __enter__(self) -> Self:
        self.broker = self._stack.enter_context(KafkaBroker(relay_port=free_port()))
        # Every write is in the append-only file before it is answered: killed, it forgets nothing.
        self.redis = self._stack.enter_context(
            EmbeddedRedis(appendonly="yes", port=str(free_port()))
        )
        self.begin()
        return self

    def __exit__(self, *failed: object) -> None:
        for worker in self.workers:
            worker.kill()
        self._stack.close()
        if failed[0] is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    workers: Sequence[Worker] = ()

    def begin(self) -> None:
        """A new scenario: an empty Redis, a new topic, a new recovery folder."""
        for worker in self.workers:
            worker.kill()
        self.workers = []
        self.name = f"scenario-{next(self._names)}"
        self.redis.send_command("FLUSHALL")
        self.redis_url = self.redis.url
        self.bootstrap = self.broker.address
        self.recovery = self.folder / self.name / "recovery"
        self.recovery.parent.mkdir()
        # Events of the past would fall out of a topic that forgets.
        self.topic = self.broker.create_topic(self.name, PARTITIONS, retention_ms="-1")

    @contextmanager
    def behind_proxy(self) -> Iterator[Proxy]:
        """Workers that are started inside reach the broker through a line that can be cut."""
        assert self.broker.relay_port is not None
        with Proxy(self.broker.relay_port, self.broker.relayed_port) as line:
            self.bootstrap = f"127.0.0.1:{line.port}"
            yield line

    def start(self, *options: str, processes: int = 1) -> Worker:
        """Start `penstock run` on this scenario's topic and recovery folder."""
        port = free_port()
        settings = {
            "kafka.bootstrap_servers": self.bootstrap,
            "kafka.topic": self.topic,
            "kafka.group": self.name,
            # Whether partitions idle depends on how long a machine takes.
            "kafka.idle_ms": 3_600_000,
            "source.epoch_ms": EPOCH_MS,
            "metrics.listen": f"127.0.0.1:{port}",
            "run.stuck_s": 10,
        }
        arguments = [
            word for key, value in settings.items() for word in ("--set", f"{key}={value}")
        ]
        arguments += ["--redis", self.redis_url, "--recovery", str(self.recovery)]
        arguments += ["--dead-letters", str(self.recovery.parent / "dead-letters.jsonl")]
        if processes > 1:
            arguments += ["--processes", str(processes)]
        worker = Worker(
            [*arguments, *options],
            self.recovery.parent / "worker.log",
            [port + number for number in range(processes)],
        )
        self.workers = [*self.workers, worker]
        return worker

    def send(self, records: Sequence[Record], *, per_s: float = 0) -> None:
        """Produce records in order, each key to one partition; at a pace, or at once."""
        producer = KafkaProducer(
            bootstrap_servers=self.broker.address, linger_ms=5, compression_type="gzip"
        )
        began_s = time.monotonic()
        for number, record in enumerate(records):
            if per_s and number % 50 == 0:
                time.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
            producer.send(self.topic, record.value, key=record.key, timestamp_ms=record.arrived_ms)
        producer.flush()
        producer.close()

    def sending(self, records: Sequence[Record], *, per_s: float) -> threading.Thread:
        """`send` beside what else happens; join it."""
        thread = threading.Thread(target=self.send, args=(records,), kwargs={"per_s": per_s})
        thread.start()
        return thread

    def drain(self, records: int, *, within_s: float = DRAIN_S) -> float:
        """Wait until so many records have been counted in Redis; the seconds that took."""
        began_s = time.monotonic()
        while (counted := self.counted()) < records:
            if time.monotonic() - began_s > within_s:
                stderr_text = self.workers[-1].stderr_text[-3000:]
                raise AssertionError(f"{counted:,} of {records:,} records in Redis: {stderr_text}")
            if not self.workers[-1].is_alive:
                raise AssertionError(f"the worker ended: {self.workers[-1].stderr_text[-3000:]}")
            time.sleep(0.1)
        assert counted == records, f"{counted:,} records in Redis, {records:,} were sent"
        return time.monotonic() - began_s

    def counted(self) -> int:
        """How many records the flow says it has read."""
        with Store(self.redis_url, timeout_ms=2000, patience_s=0).errors_as_user_errors():
            return int(self.store().client.hget(keys.meta_key(), "events") or 0)

    def store(self) -> Store:
        """A connection to this scenario's Redis."""
        return Store(self.redis_url, timeout_ms=10_000, patience_s=0)

    def finish(self, records: int) -> None:
        """Drain, then stop cleanly."""
        self.workers[-1].wait_ready()
        self.drain(records)
        # When it is quiet the shards hear of the last watermark, and sessions end.
        time.sleep(QUIET_S)
        code = self.workers[-1].stop()
        assert code == 0, f"exit code {code}: {self.workers[-1].stderr_text[-3000:]}"
