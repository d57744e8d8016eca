"""Monitors the other processes of a run across hosts while the flow runs, so that all end together.

When a peer is gone, has restarted, or this process is stuck, this process ends as in a crash: its
manager restarts it, and all processes wait for each other again. When a peer was asked to stop, this
process stops cleanly too.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.cluster.registration import ReplacedError
from flows.process import liveness
from flows.process.background import background_thread
from flows.process.shutdown import exit_process
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from flows.cluster.rendezvous import Rendezvous
    from flows.sources.live_source import LiveSource
    from state.config_deployment import Run
    from state.store import ProcessEntry

POLL_S = 0.2

_log = logging.getLogger("penstock.meeting")  # public: a field of JSON logs


@contextmanager
def monitor_peers(rendezvous: Rendezvous, source: LiveSource, run: Run) -> Iterator[None]:
    """Monitor the admitted peers in a background thread while inside."""
    monitor = _PeerMonitor(rendezvous, source, run)
    with background_thread("meeting", monitor.watch):
        yield


class _PeerMonitor:
    def __init__(self, rendezvous: Rendezvous, source: LiveSource, run: Run) -> None:
        self._registration = rendezvous.registration
        self._peer_starts = rendezvous.peer_starts
        self._source = source
        self._run = run
        self._last_seen_s: dict[int, float] = {}

    def watch(self, stop: Event) -> None:
        """Check all peers until `stop` is set; end the process at the first failure."""
        self._mark_all_seen()
        while not stop.wait(POLL_S):
            failure = self._own_failure()
            try:
                self._publish_state()
                for number in self._registration.peers:
                    peer = self._registration.get(number)
                    failure = failure or self._peer_failure(number, peer)
            except ReplacedError as error:
                failure = str(error)
            except StoreError:  # the sink logs that Redis is away and waits
                self._mark_all_seen()
            if failure and not stop.is_set():
                _log.error("%s: this process ends, to be restarted with the others", failure)
                exit_process()

    def _mark_all_seen(self) -> None:
        self._last_seen_s = dict.fromkeys(self._registration.peers, time.monotonic())

    def _publish_state(self) -> None:
        if self._source.is_stopping and not self._registration.entry.is_stopping:
            self._registration.update(is_stopping=True)
        self._registration.renew()

    def _own_failure(self) -> str:
        stuck_s = self._run.stuck_s
        limit_s = stuck_s if liveness.has_started() else max(liveness.START_TIMEOUT_S, stuck_s)
        age_s = liveness.progress_age_s()
        return f"this process has made no progress for {age_s:.0f} s" if age_s > limit_s else ""

    def _peer_failure(self, number: int, peer: ProcessEntry | None) -> str:
        if peer is None:
            is_gone = time.monotonic() - self._last_seen_s[number] > self._run.lease_s
            if is_gone and not self._source.is_stopping:
                return f"process {number} has not renewed its entry for {self._run.lease_s:g} s"
            return ""
        self._last_seen_s[number] = time.monotonic()
        if peer.start != self._peer_starts[number]:
            return f"process {number} has restarted ({peer.label})"
        if peer.is_stopping and not self._source.is_stopping:
            self._source.request_stop()
        return ""
