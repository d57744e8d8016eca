"""One run at a time writes under a consumer group's name, whatever folder or host it is on."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from state import keys
from state.store import Lease, Store
from tests.live_runs import Live, Process
from tests.streams import content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

LEASE_S = 1


@pytest.fixture
def live(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with Live(kafka_broker, "tenure", redis_url, tmp_path) as found:
        yield found


@pytest.mark.slow
def test_a_second_run_is_refused_and_the_next_run_on_the_folder_takes_over_at_once(
    live: Live,
) -> None:
    live.send(200)
    run = live.start(run__lease_s=600)
    run.until(live.caught_up)
    code, said = live.start(recovery="another").ended()
    assert code == 2
    assert f"{live.topic} is run by " in said
    assert f"process {run.popen.pid} already, for " in said
    assert len(said.splitlines()) == 1
    run.kill()
    code, said = live.start("--set", "kafka.topic=another").ended()
    assert code == 2
    assert f"belongs to a run with kafka.topic={live.topic}: name another" in said
    live.send(200)
    again = live.start(run__lease_s=600)
    again.until(live.caught_up)
    assert again.stop()[0] == 0
    where = f"kafka.bootstrap_servers={live.broker.address}"
    names = (f"kafka.topic={live.topic}", f"kafka.group={live.topic}")
    sets = [word for one in (where, *names) for word in ("--set", one)]
    _, verdicts = Process(["check", "--redis", live.redis_url, *sets]).ended()
    assert (
        f"topic {live.topic} has 3 partitions; group {live.topic} is 0 records behind" in verdicts
    )
    assert f"{live.topic} is free" in verdicts
    Lease(live.redis_url, live.topic, "another", 1).acquire()


def forget_what_was_written(live: Live) -> None:
    """But not who may write."""
    store = Store(live.redis_url, timeout_ms=2000, patience_s=0)
    store.client.delete(*(name for name, _ in store.rows()))
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_suspended_run_writes_nothing_after_another_took_over(live: Live, processes: int) -> None:
    more = ("--processes", str(processes)) if processes > 1 else ()
    live.send(3000)
    sleeper = live.start(*more, run__lease_s=LEASE_S, source__batch_events=20)
    sleeper.until(lambda: live.has_counted(20))
    all_of_it = [sleeper.popen.pid, *sleeper.workers()]
    for pid in all_of_it:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(LEASE_S)
    forget_what_was_written(live)
    other = live.start(recovery="another", source__batch_events=1000)
    other.until(live.caught_up)
    assert other.stop()[0] == 0
    forget_what_was_written(live)
    if processes > 1:  # an error that a restart can fix comes together with one that it cannot
        os.kill(all_of_it[-1], signal.SIGKILL)
    for pid in all_of_it:
        os.kill(pid, signal.SIGCONT)
    code, said = sleeper.ended()
    assert code == 2
    assert "another run took over" in said
    assert "Traceback" not in said
    assert set(content(live.redis_url)) <= {keys.meta_key()}  # heartbeats write the lag there
