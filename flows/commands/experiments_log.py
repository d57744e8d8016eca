"""Reads a recorded file into the log of an experiment, and reports rejected records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flows.commands.evaluation_files import RejectedRows
from flows.process.printing import print_error
from flows.sources.files import LogFile
from operators.experiments.unit_log import UnitLog
from operators.readers.registry import read_log
from state.dead_letters import DeadLetter

if TYPE_CHECKING:
    from state.config import Settings


def read_unit_log(
    path: str, format_name: str, settings: Settings, name: str | None, slot: str
) -> UnitLog:
    """Read a file; `name` and `slot` as in `UnitLog`. Raises UserError."""
    log, rejected = UnitLog(name, slot, settings.money), RejectedRows()
    limits = settings.source.limits
    with LogFile(path) as file:
        lines = file.lines(line_bytes_max=limits.event_bytes_max + 1)
        now_ms = time.time_ns() // 1_000_000
        for record in read_log(format_name, lines, source=file.name, now_ms=now_ms, limits=limits):
            if isinstance(record, DeadLetter):
                rejected.add(record)
            else:
                log.observe(record)
        if rejected.count:
            print_error(f"{file.name}: {rejected.message()}")
    return log
