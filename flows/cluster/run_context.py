"""The settings and addresses of one process of a live run, which do not change while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.cluster.placement import SINGLE_PROCESS
from flows.observability import recording
from flows.sinks.dead_letters import DEAD_LETTERS_FILE
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event

    from flows.cluster.placement import ClusterPosition
    from state.config import Settings
    from state.store import Fence


@dataclass(frozen=True)
class RunContext:
    """One process of a live run. `stop` ends it; without a `recovery_folder` it stores no state."""

    settings: Settings
    redis_url: str
    stop: Event
    dead_letters: Path = DEAD_LETTERS_FILE
    recovery_folder: Path | None = None
    position: ClusterPosition = SINGLE_PROCESS

    def connect(
        self,
        fence: Fence | None = None,
        on_retry: Callable[[], None] = recording.record_redis_wait,
    ) -> Store:
        """A store that writes under `fence`. `on_retry` is called at each retry while Redis is away."""
        redis = self.settings.redis
        return Store(
            self.redis_url,
            timeout_ms=redis.timeout_ms,
            patience_s=redis.patience_s,
            replicas=redis.replicas,
            fence=fence,
            on_retry=on_retry,
        )
