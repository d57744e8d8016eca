"""Which process of a cluster does what: one learns and writes to Redis, the others read Kafka.

Learning is one key on one worker, and the heaviest step. So that worker does nothing else, and its
output goes to Redis without another network hop. Bytewax chooses the worker of a key by Rust's
default hash, and the worker of a partition among those that list it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.steps import SINGLE_KEY

if TYPE_CHECKING:
    from bytewax.outputs import FixedPartitionedSink

_64 = (1 << 64) - 1


@dataclass(frozen=True)
class ClusterPosition:
    """The number of this process in a run, and the addresses of all; none for a single process."""

    process: int = 0
    addresses: tuple[str, ...] = ()

    @property
    def process_count(self) -> int:
        """The number of processes of the run."""
        return max(1, len(self.addresses))

    @property
    def owns_learn_key(self) -> bool:
        """Whether the learn step runs in this process, and with it the sinks."""
        return self.process == worker_of(SINGLE_KEY, self.process_count)

    @property
    def reads_topic(self) -> bool:
        """Whether this process reads partitions of the topic."""
        return self.process_count == 1 or not self.owns_learn_key


SINGLE_PROCESS = ClusterPosition()


def without_partitions(sink: FixedPartitionedSink[Any, Any]) -> FixedPartitionedSink[Any, Any]:
    """A sink without partitions: those of another process are used."""
    sink.list_parts = list  # type: ignore[method-assign]
    return sink


def worker_of(key: str, workers: int) -> int:
    """The worker to which Bytewax assigns a key.

    >>> [worker_of("all", workers) for workers in (1, 2, 3, 4)]
    [0, 1, 2, 1]
    """
    return _siphash_1_3(key.encode() + b"\xff") % workers


def _siphash_1_3(data: bytes) -> int:
    """SipHash-1-3 with a key of zeros: the hash of Rust's `DefaultHasher`.

    >>> hex(_siphash_1_3(b""))
    '0xd1fba762150c532c'
    """
    v0, v1, v2, v3 = (
        0x736F6D6570736575,
        0x646F72616E646F6D,
        0x6C7967656E657261,
        0x7465646279746573,
    )
    full = len(data) - len(data) % 8
    last = data[full:].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for offset in range(0, full + 8, 8):
        word = int.from_bytes((data[offset : offset + 8] if offset < full else last), "little")
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _64
    v1 = _left(v1, 13) ^ v0
    v0 = _left(v0, 32)
    v2 = (v2 + v3) & _64
    v3 = _left(v3, 16) ^ v2
    v0 = (v0 + v3) & _64
    v3 = _left(v3, 21) ^ v0
    v2 = (v2 + v1) & _64
    v1 = _left(v1, 17) ^ v2
    v2 = _left(v2, 32)
    return v0, v1, v2, v3


def _left(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _64
