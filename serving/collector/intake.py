"""Takes events in: what may be accepted from whom, when it was received, and into the log or the spool.

A page may not send what concerns others: erasures and the catalogue need the secret key. `Sec-GPC`
refuses ads.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from serving.collector.event_log import (
    RECORD_BYTES_MAX,
    CollectorLog,
    LogRecord,
    LogUnavailableError,
    TooLargeError,
)
from serving.collector.spool import Spool, SpoolFullError
from serving.http import metrics
from serving.http.errors import RequestError
from state.dead_letters import DeadLetter
from state.events import Consent, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

RETRY_S = 5
"""When a sender may come again while neither log nor spool takes anything."""
DRAIN_INTERVAL_S = 1.0
SHOP_ONLY_TYPES = ("erase", "item")

_log = logging.getLogger("penstock.collector")


class RejectedEvent(msgspec.Struct):
    """An event that was not accepted, in the words of the dead letters."""

    index: int
    failure_type: str
    errors: list[dict[str, str]]


class CollectorAnswer(msgspec.Struct):
    """How many events were accepted, and which were not."""

    accepted: int
    rejected: list[RejectedEvent]


class Sender(msgspec.Struct, frozen=True):
    """Who sends: whether with the secret key, and whether with `Sec-GPC`."""

    is_trusted: bool
    refuses_ads: bool = False


class Intake:
    """Accepts events into a log; into a spool while the log is away. For one event loop."""

    def __init__(self, log: CollectorLog, spool: Spool | None) -> None:
        self._log = log
        self._spool = spool
        self._is_spooling = False
        self._drain_problem = ""

    async def accept(
        self, results: Sequence[Event | DeadLetter], sender: Sender, now_ms: int
    ) -> CollectorAnswer:
        """Store the good events of a body, and say which were not. Raises RequestError 503."""
        records: dict[int, LogRecord] = {}
        rejected: list[RejectedEvent] = []
        for index, result in enumerate(results):
            problem = _problem(result, sender)
            if problem is not None:
                rejected.append(RejectedEvent(index, *problem))
                continue
            assert isinstance(result, Event)
            event = _completed(result, sender, now_ms)
            key = event.anonymous_id or event.user_id or event.event_id
            record = LogRecord(key.encode(), msgspec.json.encode(event))
            if record.byte_count > RECORD_BYTES_MAX:
                rejected.append(_too_large(index, f"at most {RECORD_BYTES_MAX} bytes"))
            else:
                records[index] = record
        if records:
            try:
                await self._store(list(records.values()))
            except TooLargeError as error:
                indexes = list(records)
                too_large = [indexes[position] for position in error.indexes]
                rejected += [_too_large(index, "too large for the log") for index in too_large]
        rejected.sort(key=lambda one: one.index)
        return CollectorAnswer(len(results) - len(rejected), rejected)

    async def drain_while_running(self) -> None:
        """Send what is in the spool whenever the log takes it again, until it is cancelled."""
        while self._spool is not None:
            try:
                await self._drain(self._spool)
            except LogUnavailableError:
                pass
            except Exception as error:
                self._log_drain_problem(f"{type(error).__name__}: {error}")
            else:
                self._drain_problem = ""
            await asyncio.sleep(DRAIN_INTERVAL_S)

    def _log_drain_problem(self, problem: str) -> None:
        """Log why the spool cannot be sent, once; it is tried again every second."""
        if problem != self._drain_problem:
            _log.error("the spool cannot be sent: %s", problem)
        self._drain_problem = problem

    async def _store(self, records: list[LogRecord]) -> None:
        failure: Exception | None = None
        if self._spool is None or not self._is_spooling:
            try:
                return await self._log.append(records)
            except LogUnavailableError as error:
                failure = error
        if self._spool is not None:
            try:
                await asyncio.to_thread(self._spool.append, records)
            except (SpoolFullError, OSError) as error:
                failure = error
            else:
                if failure is not None:
                    self._begin_spooling(failure)
                return None
        message = "events cannot be stored now: send them again"
        raise RequestError(503, "$", message, retry_after=str(RETRY_S)) from failure

    def _begin_spooling(self, failure: Exception) -> None:
        if not self._is_spooling:
            _log.warning(
                "the log takes no events (%s): they are kept on disk until it does",
                failure,
                extra={"event": "collector_spooling"},
            )
        self._is_spooling = True

    async def _drain(self, spool: Spool) -> None:
        """Send the files of the spool; new events go into it until all of them are sent."""
        if not spool.byte_count:
            return
        count = 0
        for path in await asyncio.to_thread(spool.take_files):
            for part in spool.read(path):
                count += await self._send(part)
            spool.remove(path)
        self._is_spooling = False
        if count:
            _log.info("the log takes events again: %d of the spool are in it", count)

    async def _send(self, part: list[LogRecord]) -> int:
        """Send records of the spool; those that the log never takes are dropped. How many it has."""
        try:
            await self._log.append(part)
        except TooLargeError as error:
            dropped = [part[index].byte_count for index in sorted(error.indexes)]
            metrics.SPOOL_DROPPED.labels("too_large").inc(len(dropped))
            _log.error(
                "%d accepted events are lost: of %s bytes, they are too large for the log: raise "
                "max.message.bytes of the topic to 1 MB",
                len(dropped),
                ", ".join(map(str, dropped)),
                extra={"event": "collector_dropped"},
            )
            return len(part) - len(dropped)
        return len(part)


def _problem(result: Event | DeadLetter, sender: Sender) -> tuple[str, list[dict[str, str]]] | None:
    if isinstance(result, DeadLetter):
        errors = [{"path": one.path, "message": one.message} for one in result.errors]
        return result.failure_type, errors
    if result.type in SHOP_ONLY_TYPES and not sender.is_trusted:
        message = f"{result.type} needs the secret key"
        return "schema_violation", [{"path": "$.type", "message": message}]
    return None


def _too_large(index: int, message: str) -> RejectedEvent:
    return RejectedEvent(index, "too_large", [{"path": "$", "message": message}])


def _completed(event: Event, sender: Sender, now_ms: int) -> Event:
    consent = event.consent
    if sender.refuses_ads and (consent is None or consent.ads is None):
        consent = replace(consent or Consent(), ads=False)
    return replace(event, received_ts=now_ms, consent=consent)
