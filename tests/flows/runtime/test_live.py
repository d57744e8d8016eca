"""`penstock run`: every event counts once, however a run ends."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.live_runs import Live, undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flows.process.embedded_redis import EmbeddedRedis
    from tests.kafka_broker import AnyBroker


@pytest.fixture
def live(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with Live(kafka_broker, "live", redis_url, tmp_path) as found:
        yield found


@pytest.mark.slow
def test_a_stopped_run_reads_nothing_twice(live: Live) -> None:
    live.send(3000)
    for how in (signal.SIGTERM, signal.SIGINT):
        run = live.start()
        run.until(live.caught_up)
        assert run.stop(how)[0] == 0
        assert live.committed() == live.sent
        live.send(1000)
    assert live.meta()["duplicates"] == 0


@pytest.mark.slow
def test_a_killed_run_resumes_where_it_stopped(live: Live) -> None:
    live.send(4000)
    for part in (500, 1500, 3000):
        run = live.start(source__batch_events=50)
        run.until(partial(live.has_counted, part))
        run.kill()
    assert live.to_the_end() == undisturbed(live)


@pytest.mark.slow
def test_a_run_that_cannot_write_still_ends_and_counts_nothing_twice(
    live: Live, redis_server: EmbeddedRedis
) -> None:
    live.send(1000)
    run = live.start()
    run.until(live.caught_up)
    redis_server.stop()
    live.send(500)
    code, said = run.stop()
    assert code == 1
    assert "the next start reads the events since the last snapshot again" in said
    assert len(said.splitlines()) <= 2
    redis_server.start()
    live.to_the_end()
    assert live.meta()["duplicates"] == 0


def test_a_second_run_on_the_same_folder_is_refused(live: Live) -> None:
    live.send(100)
    run = live.start()
    run.until(live.caught_up)
    code, said = live.start().ended()
    assert code == 2
    assert "is in use by another run" in said
    assert run.stop()[0] == 0
