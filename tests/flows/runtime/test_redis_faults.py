"""What a Redis that is absent, locked, full, read-only, restarted or asleep does to a run: one line
that says what to do, or a wait after which everything is there."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime.replay import replay_recordings
from flows.sinks.scrub_pass import scrub
from operators.synthetic.traffic import generate_events
from state import keys
from state.config_deployment import Redis
from state.errors import UserError
from state.store import LOGIN_VARIABLE, Store
from state.store.connection import pack
from state.store.streams import remove_conflicting
from tests.streams import content, flow_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.events import Event
    from state.store import Command

TIMEOUT_MS = 500
PATIENCE_S = 2


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as running:
        yield running


def store(server: EmbeddedRedis, url: str = "", patience_s: float = PATIENCE_S) -> Store:
    return Store(url or server.url, timeout_ms=TIMEOUT_MS, patience_s=patience_s)


def said(failing: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        failing()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def server_pid(server: EmbeddedRedis) -> int:
    return int((Path(server.url.removeprefix("unix://")).parent / "pid").read_text())


def once_waiting(then: Callable[[], object]) -> threading.Thread:
    """Calls `then` when the store has logged that it waits."""
    waiting = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting" in record.getMessage():
                waiting.set()

    heard = Heard()
    logging.getLogger("penstock.redis").addHandler(heard)

    def act() -> None:
        assert waiting.wait(60)
        logging.getLogger("penstock.redis").removeHandler(heard)
        then()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def names(count: int) -> list[Command]:
    return [("SET", f"ps:1:{n}", "x" * 100) for n in range(count)]


class TestAtTheStart:
    def test_no_server(self, tmp_path: Path) -> None:
        nobody = Store(f"unix://{tmp_path}/no.sock", timeout_ms=TIMEOUT_MS, patience_s=PATIENCE_S)
        assert said(nobody.check) == (
            f"Redis at unix://{tmp_path}/no.sock does not answer: "
            "start it, or set redis.url (--redis URL)"
        )

    def test_something_else_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as web:
            port = web.getsockname()[1]

            def answer() -> None:
                line, _ = web.accept()
                with line:
                    line.recv(100)
                    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            url = f"redis://127.0.0.1:{port}"
            message = said(Store(url, timeout_ms=TIMEOUT_MS, patience_s=PATIENCE_S).check)
            thread.join()
        assert message.startswith(f"Redis at {url} does not speak as Redis does: set redis.url")

    @pytest.mark.parametrize("url", ["http://shop", "redis://host:port", "redis://[", "shop"])
    def test_no_url_of_redis(self, url: str) -> None:
        message = said(lambda: Store(url, timeout_ms=TIMEOUT_MS, patience_s=PATIENCE_S))
        assert message == (
            f"redis.url {url}: expected redis://, rediss://, unix://, redis+cluster://host,host "
            "or redis+sentinel://host,host/service"
        )

    def test_a_wrong_or_missing_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with EmbeddedRedis(requirepass="right") as server:
            plain = server.url.replace(":right@", "")
            for given in (None, "wrong"):
                if given:
                    monkeypatch.setenv(LOGIN_VARIABLE, given)
                message = said(store(server, plain).check)
                assert message.startswith(f"Redis at {plain} refused the login (")
                assert f": set {LOGIN_VARIABLE}" in message
            monkeypatch.setenv(LOGIN_VARIABLE, "right")
            store(server, plain).check()
            monkeypatch.setenv(LOGIN_VARIABLE, "wrong")
            store(server).check()  # the one in the URL goes first

    def test_a_password_is_never_shown(self) -> None:
        with EmbeddedRedis(requirepass="right") as server:
            assert "secret" not in said(store(server, server.url.replace("right", "secret")).check)

    def test_a_replica_that_takes_no_writes(self) -> None:
        with EmbeddedRedis(replicaof="127.0.0.1 1") as server:
            assert said(store(server).check) == (
                f"Redis at {server.url} is read-only, perhaps a replica: "
                "point redis.url at the primary"
            )

    def test_a_full_server(self) -> None:
        with EmbeddedRedis(maxmemory="1") as server:
            assert said(store(server).check) == (
                f"Redis at {server.url} is full: raise its maxmemory, "
                "or give it an eviction policy that spares keys without expiry"
            )

    def test_another_programs_value(self, server: EmbeddedRedis) -> None:
        server.send_command(f"SET {keys.meta_key()} theirs")
        assert said(store(server).check) == (
            f"Redis at {server.url} holds another program's value at {keys.meta_key()}: "
            "delete that key, or use another database"
        )

    def test_a_user_who_may_not_write(self, server: EmbeddedRedis) -> None:
        server.send_command("ACL SETUSER reader on nopass ~* +@read +@connection")
        url = server.url.replace("unix://", "unix://reader:x@")
        assert "no permissions" in said(store(server, url).check)


class TestInTheMiddle:
    @pytest.mark.parametrize(
        ("breaking", "mending", "message"),
        [
            ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "is full"),
            ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "is read-only"),
        ],
    )
    def test_a_server_that_refuses_writes_for_a_while(
        self,
        server: EmbeddedRedis,
        caplog: pytest.LogCaptureFixture,
        breaking: str,
        mending: str,
        message: str,
    ) -> None:
        writing = store(server, patience_s=60)
        writing.send(names(10))
        writing.flush()
        server.send_command(breaking)
        writing.send(names(20))
        mends = once_waiting(lambda: server.send_command(mending))
        writing.flush()
        mends.join()
        assert server.send_command("DBSIZE") == ":20"
        assert message in caplog.text

    @pytest.mark.parametrize("breaking", ["CONFIG SET maxmemory 1", "REPLICAOF 127.0.0.1 1"])
    def test_a_server_that_keeps_refusing(self, server: EmbeddedRedis, breaking: str) -> None:
        writing = store(server, patience_s=0.1)
        server.send_command(breaking)
        writing.send(names(20))
        assert "(waited " in said(writing.flush)

    def test_another_programs_value(self, server: EmbeddedRedis) -> None:
        writing = store(server)
        server.send_command("SET ps:1:card theirs")
        writing.send(
            [("SET", "ps:1:a", 1), ("HSET", "ps:1:card", "price", 1), ("SET", "ps:1:b", 1)]
        )
        assert said(writing.flush) == (
            f"Redis at {server.url} holds another program's value at ps:1:card: "
            "delete that key, or use another database"
        )

    def test_a_password_that_was_changed(self, server: EmbeddedRedis) -> None:
        writing = store(server)
        writing.send(names(1))
        writing.flush()
        server.send_command("CONFIG SET requirepass new")
        socket_path = server.url.removeprefix("unix://")
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(socket_path)
            line.sendall(b"AUTH new\r\nCLIENT KILL TYPE normal SKIPME yes\r\n")
            line.recv(100)
            writing.send(names(1))
            assert "refused the login" in said(writing.flush)

    def test_a_server_that_never_comes_back(self, server: EmbeddedRedis) -> None:
        writing = store(server, patience_s=0.1)
        writing.send(names(1))
        writing.flush()
        server.stop()
        writing.send(names(1))
        message = said(writing.flush)
        assert message.startswith(f"Redis at {server.url} does not answer: start it")
        assert "(waited " in message

    def test_a_server_that_came_back_empty_gets_all_unacknowledged_writes(
        self, server: EmbeddedRedis
    ) -> None:
        writing = store(server, patience_s=60)
        writing.send(names(10))
        writing.flush()
        server.stop()
        starts = once_waiting(server.start)
        for n in range(20):
            writing.send([("SET", f"ps:1:later:{n}", n)])
        writing.close()
        starts.join()
        assert [row[0] for row in sorted(store(server).rows())] == sorted(
            f"ps:1:later:{n}" for n in range(20)
        )

    def test_a_suspended_server_gets_all_writes_in_order(self, server: EmbeddedRedis) -> None:
        """Asleep for longer than the timeout, while more is sent than its socket holds."""
        writing = store(server, patience_s=60)
        pid = server_pid(server)
        writing.send(names(10))
        writing.flush()
        os.kill(pid, signal.SIGSTOP)
        wakes = once_waiting(lambda: os.kill(pid, signal.SIGCONT))
        for n in range(400):
            writing.send(
                [
                    ("SET", f"ps:1:{n % 7}", f"{n}" * 500),
                    ("XADD", "ps:1:changes", f"{n + 1}-0", "n", n),
                ]
            )
        writing.close()
        wakes.join()
        rows = dict(store(server, patience_s=60).rows())
        assert [int(fields[b"n"]) for _, fields in rows["ps:1:changes"]] == list(range(400))
        assert [rows[f"ps:1:{n % 7}"] for n in range(393, 400)] == [
            (f"{n}" * 500).encode() for n in range(393, 400)
        ]


class TestAFlow:
    """What a replay leaves where its Redis was away in the middle of it."""

    SHOP: ClassVar[list[Event]] = list(generate_events(events=1500, shoppers=200, items=50))
    CHOSEN = msgspec.structs.replace(
        flow_settings(epoch_ms=20), redis=Redis(timeout_ms=TIMEOUT_MS, patience_s=60)
    )

    def replay(
        self, server: EmbeddedRedis, folder: Path, middle: Callable[[], object] = lambda: None
    ) -> dict[str, Any]:
        """`middle` is done when half of the shop was read."""

        def recording() -> Iterator[Event]:
            yield from self.SHOP[:750]
            middle()
            yield from self.SHOP[750:]

        replay_recordings(
            {"shop": recording},
            self.CHOSEN,
            redis_url=server.url,
            dead_letters=folder / "dead_letters.jsonl",
        )
        return content(server.url)

    def test_a_suspended_server_ends_with_the_same_content(
        self, server: EmbeddedRedis, tmp_path: Path
    ) -> None:
        undisturbed = self.replay(server, tmp_path)
        server.send_command("FLUSHALL")
        pid = server_pid(server)
        wakes = once_waiting(lambda: os.kill(pid, signal.SIGCONT))
        rows = self.replay(server, tmp_path, lambda: os.kill(pid, signal.SIGSTOP))
        wakes.join()
        assert rows == undisturbed

    def test_a_server_that_came_back_empty_has_all_later_writes(
        self, server: EmbeddedRedis, tmp_path: Path
    ) -> None:
        """Whole values: each of its shoppers' profiles, sessions and lists is as it would have been."""
        undisturbed = self.replay(server, tmp_path)
        server.send_command("FLUSHALL")
        starts = once_waiting(server.start)
        rows = self.replay(server, tmp_path, server.stop)
        starts.join()
        whole = {key for key in rows if key.endswith(("}:profile", "}:session", "}:top:home"))}
        whole.add(keys.meta_key())
        assert {key: rows[key] for key in whole} == {key: undisturbed[key] for key in whole}
        last = [one for one in self.SHOP[-300:] if one.user_id]
        assert {keys.profile_key(one.user_id or "") for one in last} <= whole


def test_a_stream_entry_that_was_refused_is_written_although_a_later_one_was_accepted() -> None:
    with EmbeddedRedis() as server:
        writing, other = (Store(server.url, timeout_ms=500, patience_s=2) for _ in range(2))
        server.send_command("CONFIG SET maxmemory 1")
        writing.send([("XADD", "ps:1:changes", "1-0", "n", 1)])
        while "errorstat_OOM" not in other.client.info("errorstats"):
            pass
        server.send_command("CONFIG SET maxmemory 0")
        writing.send([("XADD", "ps:1:changes", "2-0", "n", 2)])
        writing.close()
        assert [entry for entry, _ in other.client.xrange("ps:1:changes")] == [b"1-0", b"2-0"]


def test_a_consumer_group_gets_entries_that_were_removed_and_written_again(redis_url: str) -> None:
    client = Store(redis_url, timeout_ms=500, patience_s=2).client
    stream, first = "ps:1:changes", ("XADD", "ps:1:changes", "1-0", "n", 1)
    client.xadd(stream, {"n": 2}, "2-0")
    client.xgroup_create(stream, "readers", "0")
    assert [len(entries) for _, entries in client.xreadgroup("readers", "a", {stream: ">"})] == [1]
    assert remove_conflicting(client, [pack(first)])
    for entry in (1, 2):
        client.xadd(stream, {"n": entry}, f"{entry}-0")
    ((_, entries),) = client.xreadgroup("readers", "a", {stream: ">"})
    assert [entry for entry, _ in entries] == [b"1-0", b"2-0"]


def test_entries_that_a_full_stream_dropped_are_not_missing(redis_url: str) -> None:
    """Only the first entry of a batch says how long the stream may be."""
    client, stream = Store(redis_url, timeout_ms=500, patience_s=2).client, "ps:1:changes"
    for entry in (3, 4, 5):
        client.xadd(stream, {"n": entry}, f"{entry}-0")
    sent_again = [
        pack(("XADD", stream, "MAXLEN", "~", 3, "1-0", "n", 1)),
        pack(("XADD", stream, "2-0", "n", 2)),
    ]
    assert not remove_conflicting(client, sent_again)
    assert [entry for entry, _ in client.xrange(stream)] == [b"3-0", b"4-0", b"5-0"]
    assert remove_conflicting(client, sent_again[1:])


def test_an_erased_shopper_is_scrubbed_once_redis_is_back(server: EmbeddedRedis) -> None:
    """A server that is suspended during a scrub pass does not end the run."""
    patient = store(server, patience_s=60)
    key = keys.change_stream_key(0)
    for number, (kind, name) in enumerate(
        [("enter", "ann"), ("enter", "bob"), ("erase", "ann")], start=1
    ):
        entry = {"kind": kind, "shopper": name, "segment": "vip", "event_ts": number}
        patient.client.xadd(key, entry, id=f"{number}-1")
    pid = server_pid(server)
    os.kill(pid, signal.SIGSTOP)
    waker = once_waiting(lambda: os.kill(pid, signal.SIGCONT))
    scrub(patient, 7)
    waker.join()
    assert [entry_id for entry_id, _ in patient.client.xrange(key)] == [b"2-1", b"3-1"]
    patient.close()
    os.kill(pid, signal.SIGSTOP)
    impatient = store(server, patience_s=0)
    try:
        assert "does not answer" in said(lambda: scrub(impatient, 7))
    finally:
        os.kill(pid, signal.SIGCONT)
