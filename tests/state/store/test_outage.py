"""An outage: pauses grow, one line a minute is logged, and waiting ends with an error."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import AuthenticationError

from state.errors import StoreError
from state.store import outage
from state.store.outage import Outage

ERROR = ConnectionRefusedError("refused")
DOES_NOT_ANSWER = "Redis at shop does not answer: start it, or set redis.url (--redis URL)"


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outage, "time", clock)
    return clock


def test_pauses_double_up_to_a_second(clock: Clock) -> None:
    current = Outage("shop", patience_s=600)
    pauses_s = [current.record_error(ERROR) for _ in range(7)]
    assert pauses_s == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_an_outage_is_logged_once_a_minute_and_at_its_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    current = Outage("shop", patience_s=600)
    with caplog.at_level(logging.WARNING, "penstock.redis"):
        for now_s in (100.0, 101.0, 161.0):
            clock.now_s = now_s
            current.record_error(ERROR)
        clock.now_s = 170.5
        current.end()
        current.end()
    assert caplog.messages == [
        f"{DOES_NOT_ANSWER}; waiting",
        f"{DOES_NOT_ANSWER}; waiting",
        "Redis at shop is back after 70.5 s",
    ]


def test_waiting_ends_after_the_configured_patience(clock: Clock) -> None:
    current = Outage("shop", patience_s=10)
    current.record_error(ERROR)
    clock.now_s = 111.0
    with pytest.raises(StoreError) as failure:
        current.record_error(ERROR)
    assert str(failure.value) == f"{DOES_NOT_ANSWER} (waited 11 s)"
    assert failure.value.__cause__ is ERROR


def test_an_error_that_waiting_cannot_solve_is_raised_at_once(clock: Clock) -> None:
    with pytest.raises(StoreError, match="refused the login"):
        Outage("shop", patience_s=600).record_error(AuthenticationError("WRONGPASS"))
