"""Logs on standard error: one line a message, as text or JSON, without secrets."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from flows.observability import logs
from state.config_deployment import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

Capture = pytest.CaptureFixture[str]
_log = logging.getLogger("penstock.redis")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    logs.configure()


def told(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_message_is_a_json_object_with_its_fields(capsys: Capture) -> None:
    logs.configure(Log(format="json"), worker=1)
    _log.warning("Redis at %s\nis away", "unix://x", extra={"event": "redis_away", "attempt": 3})
    (line,) = told(capsys)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "penstock.redis",
        "message": "Redis at unix://x\nis away",
        "worker": 1,
        "event": "redis_away",
        "attempt": 3,
    }


def test_a_message_is_a_plain_line_for_a_person(capsys: Capture) -> None:
    logs.configure(Log(format="text"))
    _log.warning("Redis is away\n again", extra={"event": "redis_away"})
    assert capsys.readouterr().err == "penstock: Redis is away again\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_level_decides_which_messages_are_shown(form: Any, capsys: Capture) -> None:
    for level, lines in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        logs.configure(Log(format=form, level=level))  # type: ignore[arg-type]
        for say in (_log.debug, _log.info, _log.warning, _log.error):
            say("something")
        assert len(capsys.readouterr().err.splitlines()) == lines


def test_warnings_of_kafka_have_the_same_format(capsys: Capture) -> None:
    logs.configure(Log(format="json", level="info"))
    logging.getLogger("kafka.conn").info("connecting")
    logging.getLogger("kafka.conn").warning("refused")
    assert [line["message"] for line in told(capsys)] == ["refused"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_removed(form: Any, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_REDIS_PASSWORD", "open sesame")
    logs.configure(Log(format=form))
    try:
        raise ValueError("no login with open sesame")
    except ValueError:
        _log.exception("refused: open sesame", extra={"url": "redis://:open sesame@host"})
    said = capsys.readouterr().err
    assert "sesame" not in said
    assert "refused: ..." in said


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", ["PENSTOCK_PRIVACY_KEY", "PENSTOCK_HOOKS_CRM_SECRET"])
def test_escaped_secrets_are_removed(
    form: Any, name: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = 'a "key" \\ of/ours%1'
    monkeypatch.setenv(name, secret)
    logs.configure(Log(format=form))
    for written in (secret, json.dumps(secret), quote(secret, safe="")):
        _log.warning("it is %s", written, extra={"in_a_field": written})
    said = capsys.readouterr().err
    assert "key" not in said
    assert said.count("it is") == 3


def test_commands_show_warnings_as_plain_lines(capsys: Capture) -> None:
    logs.configure()
    _log.info("nothing to see")
    _log.warning("Redis holds 100% of it")
    assert capsys.readouterr().err == "penstock: Redis holds 100% of it\n"
