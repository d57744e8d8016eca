"""The intake: whatever goes wrong with what is in the spool, it is tried again, and said once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from serving.collector import intake
from serving.collector.event_log import LogRecord, LogUnavailableError
from serving.collector.intake import Intake
from serving.collector.spool import Spool
from tests.pages import in_loop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

RECORDS = [LogRecord(b"k", b"%d" % n) for n in range(3)]


class RecoveringLog:
    """Fails with each of some errors in turn, then stores."""

    def __init__(self, *failures: Exception) -> None:
        self._failures = list(failures)
        self.records: list[LogRecord] = []

    async def append(self, records: Sequence[LogRecord]) -> None:
        if self._failures:
            raise self._failures.pop(0)
        self.records += records

    async def close(self) -> None:
        pass


def drained(log: RecoveringLog, spool: Spool) -> list[LogRecord]:
    async def run() -> None:
        drain = asyncio.create_task(Intake(log, spool).drain_while_running())
        while spool.byte_count and not drain.done():
            await asyncio.sleep(0.01)
        drain.cancel()

    in_loop(asyncio.wait_for(run(), 30))
    return log.records


def test_any_error_while_the_spool_is_sent_is_said_once_and_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "DRAIN_INTERVAL_S", 0.01)
    spool = Spool(tmp_path, 1_000_000)
    spool.append(RECORDS)
    errors = [ValueError("odd")] * 3
    log = RecoveringLog(*errors, LogUnavailableError("away"), OSError(5, "Input/output error"))
    assert drained(log, spool) == RECORDS
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "the spool cannot be sent: ValueError: odd",
        "the spool cannot be sent: OSError: [Errno 5] Input/output error",
    ]


def test_a_file_that_somebody_removed_holds_up_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    spool.append(RECORDS[:1])
    (removed,) = spool.take_files()
    spool.append(RECORDS[1:])
    removed.unlink()
    assert drained(RecoveringLog(), spool) == RECORDS[1:]
    assert spool.byte_count == 0
