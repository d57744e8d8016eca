"""`penstock check`: one line for each thing that a run needs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from flows.process.exit_codes import EXIT_FAILED
from state.store import Lease

if TYPE_CHECKING:
    from tests.flows.commands.runs import Terminal
    from tests.kafka_broker import AnyBroker


def test_check_prints_one_result_for_each_thing(
    terminal: Terminal, redis_url: str, kafka_broker: AnyBroker
) -> None:
    topic = kafka_broker.create_topic("checked", partitions=2)
    address = f"kafka.bootstrap_servers={kafka_broker.address}"
    kafka = ("--set", address, "--set", f"kafka.topic={topic}")
    good = terminal.run("check", "--redis", redis_url, "--recovery", "new/recovery", *kafka)
    assert (good.code, [line.split("(")[0] for line in good.out]) == (
        0,
        [
            f"{name:<13}  good "
            for name in ("configuration", "kafka", "redis", "recovery", "privacy", "lease")
        ],
    )
    assert not Path("new").exists()
    lease = Lease(redis_url, "penstock", "a", 10)
    lease.acquire()
    held = terminal.run("check", "--redis", redis_url)
    lease.release()
    assert f"process {os.getpid()} for " in held.out[-1]
    Path("file").touch()
    bad = terminal.run("check", "--redis", "redis://localhost:1", "--recovery", "file/below")
    assert bad.code == EXIT_FAILED
    assert bad.out[2:4] == [
        "redis          NOT GOOD: Redis at redis://localhost:1 does not answer: start it, or set "
        "redis.url (--redis URL)",
        f"recovery       NOT GOOD: recovery folder file/below: {Path('file').absolute()}: "
        "not a folder: name another",
    ]


def test_what_is_named_of_river_has_a_line_with_its_cost(
    terminal: Terminal, redis_url: str
) -> None:
    named = {
        "clusters.estimator": "river.cluster.KMeans(n_clusters=4)",
        "clusters.drift_detector": "river.drift.PageHinkley()",
        "propensity.estimator": "river.naive_bayes.GaussianNB()",
        "propensity.metrics": "[river.metrics.F1()]",
    }
    words = [part for key, text in named.items() for part in ("--set", f"{key}={text}")]
    checked = terminal.run("check", "--redis", redis_url, *words)
    for key, text in named.items():
        (line,) = [line for line in checked.out if line.startswith(key)]
        assert line.startswith(f"{key}  good ({text.strip('[]')}: ")
        assert " us to learn and predict one" in line
    bad = terminal.run("check", "--set", "clusters.estimator=river.cluster.KMean()")
    assert bad.code != 0
    assert "did you mean river.cluster.KMeans?" in str(bad)


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ((), "redis          NOT GOOD: redis.url is embedded ("),
        ((), "kafka          NOT GOOD: nothing listens at localhost:9092, the default: name yours"),
        (
            ("--recovery", "file"),
            "recovery       NOT GOOD: recovery folder file: file: not a folder",
        ),
        (
            ("--set", "kafka.format=rees46"),
            "kafka          NOT GOOD: kafka.format 'rees46' is no format of records: choose one of ",
        ),
    ],
)
def test_check_fails_where_a_run_would_refuse(
    terminal: Terminal, words: tuple[str, ...], verdict: str
) -> None:
    Path("file").touch()
    checked = terminal.run("check", *words)
    assert checked.code == EXIT_FAILED
    assert [line for line in checked.out if line.startswith(verdict)]
    assert checked.err == []


def test_check_names_the_redis_and_warns_if_it_may_evict_persistent_keys(
    terminal: Terminal,
) -> None:
    with EmbeddedRedis(maxmemory_policy="allkeys-lru") as server:
        assert "allkeys-lru" in _redis_line(terminal, server)
        assert "good (server redis " in _redis_line(terminal, server)
    with EmbeddedRedis(maxmemory_policy="volatile-lru") as server:
        assert "evicts" not in _redis_line(terminal, server)


def _redis_line(terminal: Terminal, server: EmbeddedRedis) -> str:
    return next(
        line for line in terminal.run("check", "--redis", server.url).out if line[:5] == "redis"
    )
