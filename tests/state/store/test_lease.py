"""Only one run writes under a name: a second one gets an error, and the old one is fenced out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from state import keys
from state.errors import LeaseError, UserError
from state.store import Fence, Lease, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.process.embedded_redis import EmbeddedRedis

NAME = "shop"


@pytest.fixture
def leases(redis_url: str) -> Iterator[list[Lease]]:
    taken: list[Lease] = []
    yield taken
    for lease in taken:
        lease.release()


def writer(url: str, token: int) -> Store:
    return Store(url, timeout_ms=2000, patience_s=2, fence=Fence(NAME, token))


def test_the_error_of_a_second_owner_names_the_holder(redis_url: str, leases: list[Lease]) -> None:
    leases += [Lease(redis_url, NAME, holder, 10) for holder in "ab"]
    leases[0].acquire()
    with pytest.raises(LeaseError) as caught:
        leases[1].acquire()
    assert str(caught.value).startswith(f"{NAME} is run by ")
    assert f"process {os.getpid()} already" in str(caught.value)
    leases[0].release()
    leases[1].acquire()


def test_the_same_owner_takes_over_at_once_with_a_greater_token(
    redis_url: str, leases: list[Lease]
) -> None:
    leases += [Lease(redis_url, NAME, "a", 0.3) for _ in range(2)]
    first = leases[0].acquire()
    assert leases[1].acquire() > first
    assert leases[0].lost.wait(60)
    assert not leases[1].lost.is_set()


def test_a_restart_does_not_take_back_a_lease_that_was_taken_over(
    redis_url: str, leases: list[Lease]
) -> None:
    leases += [Lease(redis_url, NAME, holder, 10) for holder in "aba"]
    leases[0].acquire()
    leases[0].stop_renewing()
    leases[0].acquire(leases[0].fence)
    leases[0].release()
    leases[1].acquire()
    leases[1].release()
    with pytest.raises(LeaseError, match="another run took over shop"):
        leases[2].acquire(leases[0].fence)
    leases[2].acquire()


def test_a_lease_is_renewed_and_expires_after_its_holder_ends(
    redis_url: str, leases: list[Lease]
) -> None:
    leases += [Lease(redis_url, NAME, holder, 1.5) for holder in "ab"]
    leases[0].acquire()
    with Store(redis_url, timeout_ms=2000, patience_s=0).errors_as_user_errors():
        assert not leases[0].lost.wait(2.0)
    with pytest.raises(LeaseError):
        leases[1].acquire()
    leases[0]._released.set()  # as if its process had died
    for _ in range(500):
        try:
            leases[1].acquire()
            break
        except UserError:
            leases[0].lost.wait(0.02)
    else:
        pytest.fail("it never expired")


def test_a_lease_that_redis_lost_is_kept(redis_url: str, leases: list[Lease]) -> None:
    leases += [Lease(redis_url, NAME, holder, 1.5) for holder in "ab"]
    token = leases[0].acquire()
    reader = Store(redis_url, timeout_ms=2000, patience_s=0)
    reader.client.flushall()
    while reader.client.get(keys.lease_token_key(NAME)) != str(token).encode():
        assert not leases[0].lost.wait(0.02)
    with pytest.raises(LeaseError):
        leases[1].acquire()
    reader.close()


def test_a_writer_cannot_write_after_a_takeover(redis_url: str, leases: list[Lease]) -> None:
    leases += [Lease(redis_url, NAME, "a", 10) for _ in range(2)]
    old = writer(redis_url, leases[0].acquire())
    old.send([("SET", "ps:1:a", "old")])
    old.flush()
    new = writer(redis_url, leases[1].acquire())
    new.send([("SET", "ps:1:a", "new")])
    new.flush()
    old.send([("SET", "ps:1:a", "old")])
    with pytest.raises(LeaseError, match="another run took over shop"):
        old.flush()
    assert dict(new.rows()) == {"ps:1:a": b"new"}
    new.close()


_ZOMBIE = """
import sys
from state.store import Fence, Store
store = Store(sys.argv[1], timeout_ms=2000, patience_s=2, fence=Fence("shop", int(sys.argv[2])))
n = 0
while True:
    n += 1
    store.send([("SET", "ps:1:zombie", n)] * 100)
    store.flush()
    if n == 10:
        print("writes", flush=True)
"""


def test_a_suspended_process_cannot_write_after_a_takeover(
    redis_server: EmbeddedRedis, redis_url: str, leases: list[Lease]
) -> None:
    leases += [Lease(redis_url, NAME, "a", 10) for _ in range(2)]
    token = leases[0].acquire()
    with subprocess.Popen(
        [sys.executable, "-c", _ZOMBIE, redis_url, str(token)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as zombie:
        assert zombie.stdout is not None
        assert zombie.stderr is not None
        assert zombie.stdout.readline() == b"writes\n"
        zombie.send_signal(signal.SIGSTOP)
        new = writer(redis_url, leases[1].acquire())
        new.send([("SET", "ps:1:zombie", "new")])
        new.flush()
        zombie.send_signal(signal.SIGCONT)
        assert b"another run took over shop" in zombie.stderr.read()
    assert dict(new.rows()) == {"ps:1:zombie": b"new"}
    new.close()
