"""Runs the demo: the parts of a live shop together, each as in production, around a private Redis.

The flow is `penstock run --source redis` in a process of its own. This process has the storefront's
server with the pages of the shop, the dashboard, and the visitors. May change freely.
"""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec.structs import replace

from flows.commands import extras
from flows.commands.dashboard import create_server as page_server
from flows.commands.demo_flow import FlowProcess
from flows.commands.demo_traffic import ShopTraffic
from flows.commands.demo_view import demo_screen
from flows.commands.demo_visit import visit_shop
from flows.commands.options import load_settings, open_store
from flows.commands.replay_summary import print_summary, unaccounted_events
from flows.commands.serve import event_log
from flows.process.background import background_thread
from flows.process.embedded_redis import EmbeddedRedis
from flows.process.exit_codes import EXIT_FAILED
from flows.process.kernel_cache import cache_folder
from flows.process.printing import print_error
from flows.process.shutdown import stop_on_signal
from flows.runtime.replay_report import build_report
from serving.reader import Storefront
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path
    from threading import Event as Flag

    from rich.console import Console

    from flows.process.background import BackgroundThread
    from serving.storefront.server import StorefrontServer
    from state.config import Settings

POLL_S = 0.1
PROGRESS_LINE_S = 5.0
DEFAULTS = (
    "collector.partitions=1",  # fewer batches, each of which costs as much as a hundred events
    "source.batch_events=1024",  # also of the past: a batch publishes time-driven changes once
    "storefront.read_timeout_ms=200",  # everything shares this machine, and nothing is hurried
    "metrics.listen=",
    "log.level=warning",
    "redis.patience_s=5",  # the flow ends soon after a demo that was killed
)
FIXED = ("run.source=redis", "collector.log=redis", "kafka.dead_letters=", "kafka.changes=")
"""Without these there would be no demo, or one that needs Kafka."""
ONCE_SETTINGS = ("storefront.listen=127.0.0.1:0", "serving.listen=127.0.0.1:0")


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the shop until a signal; with `--once` until a click has reached a list. Raises UserError."""
    extras.require("serve", "the demo")
    with EmbeddedRedis() as redis, stop_on_signal() as stop:
        folder = redis.folder / "demo"  # so that also a demo that was killed leaves nothing behind
        folder.mkdir()
        settings = _settings(args, folder)
        demo = _Demo(args, settings, redis.url, folder, stop, console)
        return demo.run_once() if args.once else demo.run_live()


def _settings(args: argparse.Namespace, folder: Path) -> Settings:
    """The configuration of all parts, which `args.set` has afterwards."""
    kernels = cache_folder(load_settings(args))
    defaults = [*DEFAULTS, *(ONCE_SETTINGS if args.once else ())]
    defaults += [f"collector.spool_folder={folder}/spool", f"runtime.kernel_cache={kernels}"]
    args.set = [*defaults, *args.set, *FIXED]
    return load_settings(args, require_consent_defaults=True)


class _Demo:
    """The parts of the shop, which start when it runs and end with it."""

    def __init__(
        self,
        args: argparse.Namespace,
        settings: Settings,
        redis_url: str,
        folder: Path,
        stop: Flag,
        console: Console,
    ) -> None:
        self._settings = settings
        self._redis_url = redis_url
        self._stop = stop
        self._console = console
        self._dead_letters = folder / "dead-letters.jsonl"
        self._reader = Storefront(open_store(redis_url, settings))
        try:
            self._page = page_server(settings, redis_url)
            self._shop, self._key = _shop_server(settings, redis_url, self._page.url)
        except ConfigurationError as error:
            if isinstance(error.__cause__, OSError):
                raise _taken_error(error) from error
            raise
        log = event_log(settings, redis_url)
        assert log is not None  # `FIXED` names one
        self._traffic = ShopTraffic(log, args.events)
        self._flow = FlowProcess(args, redis_url, folder)
        self._threads: list[BackgroundThread] = []
        self._started_s = time.perf_counter()

    def run_live(self) -> int:
        """Run until a signal."""
        with ExitStack() as exit_stack:
            self._start(exit_stack)
            if self._wait_for_past():
                self._console.print(
                    f"  the shop:       {self._shop.url}   click, and the lists follow\n"
                    f"  its marketers:  {self._page.url}   the same minute, seen from there\n"
                    "Ctrl-C ends it."
                )
                with demo_screen(self._console, self._redis_url) as view:
                    self._threads.append(view)
                    while not self._stop.wait(POLL_S):
                        self._check()
            self._traffic.stop()
            self._flow.stop()
            if self._events_read():
                self._print_summary()
        return 0

    def run_once(self) -> int:
        """Click as a person would, and check that the click reaches a list and no event is lost."""
        with ExitStack() as exit_stack:
            self._start(exit_stack)
            if not self._wait_for_past():
                return EXIT_FAILED
            visit = visit_shop(self._shop.url, self._key, self._stop)
            self._console.print(visit.text, markup=False)
            self._traffic.stop()
            if not self._wait_for_events(self._traffic.sent + visit.events):
                return EXIT_FAILED
            self._flow.stop()
            unaccounted = self._print_summary()
        if unaccounted:
            print_error(f"events were lost: {unaccounted} are in no count")
        if not visit.is_followed:
            print_error("the visit had no list of its own: the line above says why")
        return 0 if visit.is_followed and not unaccounted else EXIT_FAILED

    def _start(self, exit_stack: ExitStack) -> None:
        enter_context = exit_stack.enter_context
        self._threads += [
            enter_context(background_thread("marketers' page", self._page.serve)),
            enter_context(background_thread("shop's server", self._shop.serve)),
        ]
        enter_context(self._flow)
        enter_context(self._traffic)

    def _check(self) -> None:
        """Raise UserError where a part has ended by itself."""
        self._flow.check()
        self._traffic.check()
        for thread in self._threads:
            thread.check()

    def _wait_for_past(self) -> bool:
        """Wait until the flow has read the past; False if it was stopped before."""
        while not self._traffic.is_live:
            self._check()
            if self._stop.wait(POLL_S):
                return False
        return self._wait_for_events(self._traffic.sent)

    def _wait_for_events(self, count: int) -> bool:
        due_s = time.monotonic() + PROGRESS_LINE_S
        while (read := self._events_read()) < count:
            if self._stop.wait(POLL_S):
                return False
            self._check()
            if time.monotonic() >= due_s:
                due_s += PROGRESS_LINE_S
                loading = "the flow loads its compiled code (a first start compiles it: a minute)"
                self._console.print(f"{read:,} of {count:,} events" if read else loading)
        return True

    def _events_read(self) -> int:
        return int(self._reader.counters().get("events", "0"))

    def _print_summary(self) -> int:
        """Print what came of the run, and return how many events are in no count."""
        report = build_report(self._settings, self._redis_url, self._started_s)
        peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        report = replace(report, peak_rss_mb=round(peak_kb / 1024, 1))
        print_summary(self._console, report, self._redis_url, self._dead_letters)
        return unaccounted_events(report)


def _shop_server(
    settings: Settings, redis_url: str, marketers_url: str
) -> tuple[StorefrontServer, str]:
    """The storefront's server with the pages of the shop, and its publishable key."""
    import secrets

    from serving.http.access import KEY_VARIABLE, SECRET_VARIABLE
    from serving.shop.routes import ShopRoutes
    from serving.storefront.server import StorefrontServer

    key = f"pk-{secrets.token_hex(8)}"
    environment = {KEY_VARIABLE: key, SECRET_VARIABLE: secrets.token_hex(24)}
    server = StorefrontServer(
        settings,
        redis_url,
        event_log(settings, redis_url),
        environment=environment,
        pages=lambda access: ShopRoutes(access, key, marketers_url).handlers(),
    )
    return server, key


def _taken_error(error: ConfigurationError) -> ConfigurationError:
    address, _, _ = str(error).partition(": name ")
    return ConfigurationError(
        f"{address}: stop what runs there, perhaps another demo, or take two free ports: "
        "PENSTOCK_STOREFRONT__LISTEN=127.0.0.1:0 PENSTOCK_SERVING__LISTEN=127.0.0.1:0 make demo"
    )
