"""The command line: output, report and exit code of a replay, and one line for each error."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import flows.runtime.replay_report
from flows.commands.cli import main
from flows.process.embedded_redis import EmbeddedRedis
from flows.process.exit_codes import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_STOPPED, EXIT_USER_ERROR
from operators.readers import registry as readers
from operators.synthetic.traffic import encode_lines, generate_events
from state import keys
from state.store import Lease, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flows.runtime.replay_report import Report
    from state.dead_letters import DeadLetter
    from state.events import Event
    from tests.kafka_broker import AnyBroker

ROOT = Path(__file__).parents[3]
EVENTS = 3000


class Ran(NamedTuple):
    code: int
    out: list[str]
    err: list[str]


class Terminal:
    """Runs commands in a folder of its own."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def run(self, *words: str | Path) -> Ran:
        code = main([str(word) for word in words])
        said = self._capfd.readouterr()
        return Ran(code, said.out.splitlines(), said.err.splitlines())

    def report(self, *words: str | Path) -> dict[str, Any]:
        """Of a replay that goes well."""
        ran = self.run("replay", *words, "--report", "report.json")
        assert (ran.code, ran.err) == (0, [])
        report: dict[str, Any] = json.loads(Path("report.json").read_bytes())
        return report


@pytest.fixture
def terminal(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(capfd)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded file: the shop names its items, then lines that may be cut off or come twice."""
    path = tmp_path_factory.mktemp("log") / "shop.jsonl"
    events = generate_events(events=EVENTS, shoppers=300, items=50)
    named = list(encode_lines(islice(events, 50)))
    sent = [*named, *encode_lines(events, repeated=0.02, damaged=0.01)]
    path.write_bytes(b"".join(b"%s\n" % line for line in sent))
    return path


def test_help_names_every_command(terminal: Terminal, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    offered = re.findall(r"^    ([a-z-]+)(?:  |$)", capfd.readouterr().out, re.MULTILINE)
    assert offered == [
        "demo",
        "run",
        "replay",
        "evaluate",
        "tune",
        "show",
        "segments",
        "dashboard",
        "hooks",
        "redrive",
        "erase",
        "export-subject",
        "check",
    ]


def test_the_module_is_the_command(log: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "flows", "replay", log, "--format", "penstock"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("events    3,0")


def test_show_does_not_import_the_models() -> None:
    asks = "import sys; from flows.commands.cli import parser; parser(sys.argv[1:]); print(*sys.modules)"
    loaded = {
        command: subprocess.check_output([sys.executable, "-c", asks, command], text=True).split()
        for command in ("show", "replay")
    }
    assert "river" in loaded["replay"]
    assert not {"river", "scipy", "bytewax"} & set(loaded["show"])


def test_every_event_is_accounted_for(terminal: Terminal, log: Path) -> None:
    report = terminal.report(log, "--format", "penstock")
    sent = log.read_bytes().splitlines()
    cut = [line for line in sent if not line.endswith(b"}")]
    whole = [line for line in sent if line.endswith(b"}")]
    assert {name: report[name] for name in ("events", "accepted", "rejected", "duplicates")} == {
        "events": len(sent),
        "accepted": len(set(whole)),
        "rejected": {"not_json": len(cut)},
        "duplicates": len(whole) - len(set(whole)),
    }
    letters = Path("shop.jsonl.dead-letters.jsonl").read_bytes().splitlines()
    assert [json.loads(letter)["raw"].encode() for letter in letters] == cut


def test_the_report_has_the_documented_fields(terminal: Terminal, log: Path) -> None:
    promised = (
        "events rejected duplicates late by_type shoppers items sessions_opened sessions_closed "
        "lists_written segment_changes wall_s events_per_s peak_rss_mb watermark_ms config_sha256 "
        "state_sha256 facts_sha256"
    )
    report = terminal.report(log, "--format", "penstock")
    assert set(promised.split()) - set(report) == set()
    assert sum(report["by_type"].values()) == report["events"] - sum(report["rejected"].values())


def test_the_summary_has_counts_segments_and_a_list(terminal: Terminal, log: Path) -> None:
    ran = terminal.run("replay", log, "--format", "penstock", "--set", "source.batch_events=256")
    heads = [line[:10].strip() for line in ran.out]
    figures = ["events", "accepted", "rejected", "twice", "shoppers", "lists"]
    assert heads == [*figures, *["segment"] * 3, "list", *[""] * 5]
    assert "see shop.jsonl.dead-letters.jsonl" in ran.out[2]
    assert all(", because you looked at " in line or ", popular" in line for line in ran.out[-5:])


def test_a_valid_log_leaves_no_dead_letters(terminal: Terminal, tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_bytes(b"\n".join(encode_lines(generate_events(events=100, items=20))))
    report = terminal.report(good, "--format", "penstock")
    assert (report["accepted"], report["rejected"]) == (100, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.jsonl", "report.json"]


def test_plain_gzip_and_standard_input_give_the_same(
    terminal: Terminal, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "shop.jsonl.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    of_file = terminal.report(log, "--format", "penstock")["state_sha256"]
    of_gzip = terminal.report(packed, "--format", "penstock")["state_sha256"]
    with log.open() as redirected:
        monkeypatch.setattr(sys, "stdin", redirected)
        of_input = terminal.report("-", "--format", "penstock")["state_sha256"]
    assert of_file == of_gzip == of_input


def test_an_unsorted_format_is_sorted_by_time_first(terminal: Terminal, tmp_path: Path) -> None:
    rows = [f"{1_433_000_000_000 + n * 600_000},{n % 7 + 1},view,{n % 5},\n" for n in range(300)]
    by_time, shuffled = tmp_path / "time.csv", tmp_path / "shuffled.csv"
    header = "timestamp,visitorid,event,itemid,transactionid\n"
    by_time.write_text(header + "".join(rows))
    shuffled.write_text(header + "".join(rows[::-1]))
    reports = [terminal.report(file, "--format", "retailrocket") for file in (by_time, shuffled)]
    assert reports[0]["late"] == reports[1]["late"] == 0
    assert reports[0]["facts_sha256"] == reports[1]["facts_sha256"]


def test_rows_of_one_order_far_apart_are_joined(terminal: Terminal) -> None:
    order = [f"143300000000{n},7,transaction,{n},900" for n in range(2)]
    days_later = "1433900000000,8,view,5,"
    log = Path("events.csv")
    log.write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        + "\n".join([order[1], days_later, order[0]])
    )
    report = terminal.report(log, "--format", "retailrocket")
    assert (report["by_type"], report["duplicates"]) == ({"item_view": 1, "purchase": 1}, 0)
    assert report["items"] == 3


def test_the_readable_part_of_a_damaged_file_is_replayed_and_reported(
    terminal: Terminal, log: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.jsonl.gz"
    packed = gzip.compress(log.read_bytes())
    damaged.write_bytes(packed[: len(packed) // 2])
    ran = terminal.run("replay", damaged, "--format", "penstock", "--report", "report.json")
    report = json.loads(Path("report.json").read_bytes())
    assert ran.code == EXIT_USER_ERROR
    assert f"is damaged after line {report['events']} " in ran.err[0]
    assert len(ran.err) == 1
    assert 0 < report["events"] < EVENTS
    assert ran.out[0].startswith(f"events    {report['events']:,} in ")


def test_a_wrong_format_is_one_error_line_and_nothing_else(terminal: Terminal, log: Path) -> None:
    ran = terminal.run("replay", log, "--format", "rees46", "--report", "report.json")
    assert (ran.code, ran.out, len(ran.err)) == (EXIT_USER_ERROR, [], 1)
    assert ran.err[0].startswith("penstock: not in format rees46: expected the header")
    assert not Path("report.json").exists()


REPLAY = ("replay", "LOG", "--format", "penstock")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("replay", "nope", "--format", "penstock"), "no such file: nope"),
        (("replay", "empty", "--format", "penstock"), "empty is empty: nothing to read"),
        (("replay", "plain.gz", "--format", "penstock"), "plain.gz is not gzip: rename it"),
        (("replay", ".", "--format", "penstock"), ". is a directory: name a file in it"),
        (
            (*REPLAY, "--redis", "redis://localhost:1"),
            "does not answer: start it, or set redis.url",
        ),
        ((*REPLAY, "--redis", "http://x"), "expected redis://, rediss://, unix://"),
        ((*REPLAY, "--set", "lists.many=3"), "Object contains unknown field `many` - at `$.lists`"),
        ((*REPLAY, "--config", "nope.yaml"), "nope.yaml: No such file or directory: name a conf"),
        ((*REPLAY, "--report", "nope/report.json"), "make the directory nope first"),
        ((*REPLAY, "--dead-letters", "nope/x"), "cannot write rejected records to nope/x: No such"),
        ((*REPLAY, "--recovery", "r"), "the embedded Redis is empty after a restart: with --recov"),
        (
            ("replay", "-", "--format", "penstock", "--recovery", "r"),
            "standard input cannot be read again: --recovery needs a FILE",
        ),
        (("show", "ann"), "an embedded Redis is gone when its run ends: name one with --redis URL"),
        (("demo", "--events", "0"), "--events 0: name at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_that_the_user_can_fix_is_one_line(
    terminal: Terminal, log: Path, words: tuple[str, ...], said: str
) -> None:
    Path("empty").touch()
    Path("plain.gz").write_text("plain")
    ran = terminal.run(*(log if word == "LOG" else word for word in words))
    assert (ran.code, ran.out, len(ran.err)) == (EXIT_USER_ERROR, [], 1)
    assert ran.err[0].startswith("penstock: ")
    assert said in ran.err[0]


def test_common_options_may_come_before_or_after_the_command(terminal: Terminal, log: Path) -> None:
    before = terminal.run("--set", "lists.many=3", "replay", log, "--format", "penstock")
    after = terminal.run("replay", log, "--format", "penstock", "--set", "lists.many=3")
    assert before == after
    both = terminal.run(
        "--set", "lists.k=0", "replay", log, "--format", "penstock", "--set", "lists.k=5"
    )
    assert both.code == 0


def reading(monkeypatch: pytest.MonkeyPatch, then: Any, after: int = 500) -> None:
    """Let the reader of canonical events do something after so many of them."""
    read = readers.READERS["penstock"]

    def interrupted(
        lines: Iterable[bytes], *, source: str, now_ms: int
    ) -> Iterator[Event | DeadLetter]:
        for n, record in enumerate(read(lines, source=source, now_ms=now_ms)):
            yield record
            if n == after:
                then()

    monkeypatch.setitem(readers.READERS, "penstock", interrupted)


def raise_unforeseen() -> None:
    raise ZeroDivisionError("of what nobody thought")


def test_an_unforeseen_error_is_one_line_with_the_file_of_its_traceback(
    terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(monkeypatch, raise_unforeseen)
    ran = terminal.run("replay", log, "--format", "penstock")
    assert (ran.code, ran.out, len(ran.err)) == (EXIT_FAILED, [], 1)
    said, _, details = ran.err[0].partition("; details are in ")
    assert said.startswith("penstock: unforeseen ")
    assert "of what nobody thought" in Path(details).read_text()
    Path(details).unlink()


def test_debug_prints_the_traceback(
    terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(monkeypatch, raise_unforeseen)
    ran = terminal.run("--debug", "replay", log, "--format", "penstock")
    assert ran.code == EXIT_FAILED
    assert "ZeroDivisionError: of what nobody thought" in ran.err
    assert "details are in" not in ran.err[-1]


def test_ctrl_c_is_one_line(terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    ran = terminal.run("replay", log, "--format", "penstock")
    assert ran == Ran(EXIT_STOPPED, [], ["penstock: stopped"])


def test_a_stopped_replay_continues_from_its_snapshot(
    terminal: Terminal, log: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str | Path] = [
        log,
        "--format",
        "penstock",
        "--redis",
        redis_url,
        "--set",
        "source.batch_events=100",
    ]
    words += ["--set", "source.epoch_ms=1"]
    whole = terminal.report(*words)
    Store(redis_url, timeout_ms=2000, patience_s=0).client.flushall()
    with monkeypatch.context() as patched:
        reading(patched, lambda: signal.raise_signal(signal.SIGINT), after=EVENTS // 2)
        stopped = terminal.run("replay", *words, "--recovery", "recovery")
    assert stopped == Ran(
        EXIT_STOPPED, [], ["penstock: stopped: the same command goes on where it was"]
    )
    resumed = terminal.report(*words, "--recovery", "recovery")
    timing = {"wall_s", "events_per_s", "peak_rss_mb"}
    assert {n: v for n, v in resumed.items() if n not in timing} == {
        n: v for n, v in whole.items() if n not in timing
    }


def test_a_redis_with_results_of_another_run_is_a_warning(
    terminal: Terminal, log: Path, redis_url: str
) -> None:
    words = ["replay", str(log), "--format", "penstock", "--redis", redis_url]
    assert terminal.run(*words, "--recovery", "recovery").err == []
    again = terminal.run(*words, "--recovery", "recovery")
    assert (again.out[0], again.err) == (f"goes on with the replay of {log}", [])
    anew = terminal.run(*words)
    assert (anew.code, anew.err) == (
        0,
        [
            f"penstock: Redis at {Store(redis_url, timeout_ms=1, patience_s=0).address} holds the "
            "results of an earlier run: those that this one does not overwrite stay"
        ],
    )


def test_a_recovery_folder_is_for_one_file_and_one_configuration(
    terminal: Terminal, log: Path, redis_url: str, tmp_path: Path
) -> None:
    words = ["--format", "penstock", "--redis", redis_url, "--recovery", "recovery"]
    assert terminal.run("replay", log, *words).code == 0
    other = tmp_path / "other.jsonl"
    other.write_bytes(log.read_bytes())
    assert terminal.run("replay", other, *words) == Ran(
        EXIT_USER_ERROR,
        [],
        [
            "penstock: recovery folder recovery belongs to a replay of shop.jsonl (--format penstock):"
            " name another for this one"
        ],
    )
    assert terminal.run("replay", log, *words, "--set", "sessions.gap_ms=1000") == Ran(
        EXIT_USER_ERROR,
        [],
        [
            "penstock: recovery folder recovery was made with another configuration (sessions.gap_ms):"
            " go back to that, or name a new folder and start again"
        ],
    )


def test_a_lost_event_is_an_error(
    terminal: Terminal, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing_one(*arguments: Any) -> Report:
        found = true_report(*arguments)
        found.accepted -= 1
        return found

    true_report = flows.runtime.replay_report.build_report
    monkeypatch.setattr("flows.commands.replay.build_report", losing_one)
    ran = terminal.run("replay", log, "--format", "penstock")
    assert (ran.code, ran.err) == (
        EXIT_FAILED,
        [
            "penstock: 1 events are neither accepted nor rejected nor duplicates nor suppressed nor "
            "withheld: a bug of Penstock's"
        ],
    )


def test_a_closed_output_pipe_is_no_error(log: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "replay", log, "--format", "penstock"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", EXIT_BROKEN_PIPE)


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


def test_version_is_printed(terminal: Terminal, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        terminal.run("--version")
    assert capfd.readouterr().out == f"penstock {keys.WRITER_VERSION}\n"


def test_invalid_cluster_options_are_refused(
    terminal: Terminal, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        refused = terminal.run("run", "--redis", redis_url, *words)
        assert refused.code == EXIT_USER_ERROR
        assert len(refused.err) == 1
        return refused.err[0]

    two = ("-a", "localhost:1", "-a", "localhost:2")
    assert "name one with --recovery" in said("-i", "1", *two)
    recovery = ("--recovery", "recovery")
    assert "-i 2: -a names 2 processes, counted from 0" in said(*recovery, *two, "-i", "2")
    assert "-a host: name a host and a port" in said(*recovery, "-a", "host")
    assert "different addresses" in said(*recovery, *two, "-a", "localhost:1")
    assert "leave one of them out" in said(*recovery, *two, "--processes", "2")
    monkeypatch.setenv("BYTEWAX_PROCESS_ID", "2")
    monkeypatch.setenv("BYTEWAX_ADDRESSES", "localhost:1;localhost:2")
    assert "-i 2: -a names 2 processes" in said(*recovery)
    assert not Path("recovery").exists()


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
