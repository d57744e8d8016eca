"""One endpoint: messages out of its source, over as many requests at once as it may have.

A shopper's messages go one after the other, and one that is tried again holds back only that shopper's
others. The threads only post; Redis is asked by whoever calls `pump`.
"""

from __future__ import annotations

import logging
import os
import random
import ssl
import threading
import time
from typing import TYPE_CHECKING

from flows.webhooks import metrics
from flows.webhooks.http_client import Poster
from operators.webhooks.delivery_queue import Backoff, Turns
from operators.webhooks.signing import headers, secrets_in
from state.errors import UserError

if TYPE_CHECKING:
    from flows.webhooks.http_client import Answer
    from flows.webhooks.sources import Failure, Parcel, Source
    from state.config import Endpoint, Hooks

WINDOW = 1000
"""However many messages of an endpoint are in memory: the streams keep the others."""
SECRET_VARIABLE = "PENSTOCK_HOOKS_SECRET"  # noqa: S105  the name of a variable
_SAY_EVERY_S = 60.0
_GRACE_S = 0.5
_log = logging.getLogger("penstock.hooks")


def secrets_of(name: str) -> list[bytes]:
    """What an endpoint's messages are signed with: its own secrets, else those of all.

    Raises UserError where the environment has none.
    """
    own = f"PENSTOCK_HOOKS_{name.upper().replace('-', '_')}_SECRET"
    variable = own if os.environ.get(own) else SECRET_VARIABLE
    secrets = secrets_in(os.environ.get(variable, ""), variable)
    if not secrets:
        raise UserError(
            f"hooks.endpoints.{name} has no secret to sign with: set {SECRET_VARIABLE}, or {own}; "
            'make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return secrets


class Delivery:
    """Sends what a source has to an endpoint. `tries` is how often before a message is given up.

    Raises UserError where there is no secret.
    """

    def __init__(
        self, name: str, endpoint: Endpoint, hooks: Hooks, source: Source, *, tries: int
    ) -> None:
        self.name = name
        self._source = source
        self._secrets = secrets_of(name)
        self._tries = tries
        self._timeout_s = hooks.timeout_ms / 1000
        self._backoff = Backoff(hooks.backoff_first_ms / 1000, hooks.backoff_most_s, random.random)
        self._turns: Turns[Parcel] = Turns()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._under_way = 0
        self._taken: list[Parcel] = []
        self._failed: list[Failure] = []
        self._is_refusing = False
        self._said_s = -_SAY_EVERY_S
        self.sent = self.failed = 0
        tls = ssl.create_default_context() if endpoint.url.startswith("https:") else None
        self._posters = [
            Poster(endpoint.url, self._timeout_s, tls) for _ in range(hooks.concurrency)
        ]
        for poster in self._posters:
            threading.Thread(
                target=self._work, args=(poster,), name=f"hooks-{name}", daemon=True
            ).start()

    def pump(self) -> int:
        """Tell the source what became of messages and take in more; how many came.

        Raises UserError where Redis does not answer: call it again.
        """
        self._end_overdue()
        with self._changed:
            taken, failed = self._taken[:], self._failed[:]
        if taken or failed:
            self._source.settle(taken, failed)
            with self._changed:
                del self._taken[: len(taken)], self._failed[: len(failed)]
        came: list[Parcel] = []
        room = WINDOW - self.waiting
        if room > 0 and not self._is_stopped:
            came = self._source.read(room)
            with self._changed:
                for parcel in came:
                    self._turns.add(parcel.shopper, parcel, time.monotonic())
                self._changed.notify(len(came))
        metrics.WAITING.labels(self.name).set(self.waiting)
        return len(came)

    @property
    def waiting(self) -> int:
        """Messages in memory of which the source has not heard what became."""
        with self._changed:
            return len(self._turns) + len(self._taken) + len(self._failed)

    def stop(self) -> None:
        """Begin no further request."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def end(self) -> None:
        """Stop, wait for the requests under way, and tell the source.

        Raises UserError where Redis does not answer: those are sent again then.
        """
        self.stop()
        until_s = time.monotonic() + self._timeout_s + _GRACE_S
        while self._under_way and time.monotonic() < until_s:
            self._end_overdue()
            time.sleep(_GRACE_S / 50)
        self.pump()

    def _end_overdue(self) -> None:
        for poster in self._posters:
            poster.end_overdue()

    def _work(self, poster: Poster) -> None:
        while (parcel := self._next()) is not None:
            began_s = time.monotonic()
            signed = headers(self._secrets, parcel.id, int(time.time()), parcel.body)
            answer = poster.post(parcel.body, signed)
            metrics.SECONDS_TAKEN.labels(self.name).observe(time.monotonic() - began_s)
            self._judge(parcel, answer)
        poster.close()

    def _next(self) -> Parcel | None:
        with self._changed:
            while not self._is_stopped:
                now_s = time.monotonic()
                due = self._turns.take(now_s)
                if due is not None:
                    self._under_way += 1
                    return due[1]
                self._changed.wait(self._turns.wait_s(now_s))
        return None

    def _judge(self, parcel: Parcel, answer: Answer) -> None:
        with self._changed:
            now_s = time.monotonic()
            self._under_way -= 1
            parcel.tries += 1
            if answer.is_taken:
                self._turns.done(parcel.shopper, now_s)
                self._taken.append(parcel)
                self.sent += 1
                metrics.SENT.labels(self.name).inc()
            elif answer.is_refused or parcel.tries >= self._tries:
                self._turns.done(parcel.shopper, now_s)
                self._failed.append((parcel, answer.said))
                self.failed += 1
                metrics.FAILED.labels(self.name).inc()
            else:
                pause_s = self._backoff.pause_s(parcel.tries, answer.retry_after_s)
                self._turns.again(parcel.shopper, now_s + pause_s)
                if answer.retry_after_s:
                    self._turns.pause(now_s + pause_s)
                metrics.RETRIED.labels(self.name).inc()
            self._say(answer, now_s)
            self._changed.notify()

    def _say(self, answer: Answer, now_s: float) -> None:
        if answer.is_taken:
            if self._is_refusing and now_s - self._said_s > _SAY_EVERY_S:
                self._is_refusing = False
                _log.warning("hooks: %s takes changes again", self.name)
            return
        if not self._is_refusing or now_s - self._said_s > _SAY_EVERY_S:
            self._is_refusing, self._said_s = True, now_s
            _log.warning(
                "hooks: %s %s; changes are sent again or become dead letters",
                self.name,
                answer.said,
                extra={"event": "hook_failed", "endpoint": self.name, "status": answer.status},
            )
