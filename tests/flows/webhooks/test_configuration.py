"""Configuration of webhooks: one-line errors, `penstock check`, and the examples of docs/changes.md."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from flows.commands.cli import main, parser
from tests.hooks_runs import SECRET, EndpointServer, Shop, running_webhooks, settings

CRM = "hooks.endpoints.crm={url: 'https://crm.example/in', purpose: ads}"


@pytest.mark.parametrize(
    ("words", "secret", "message"),
    [
        ([], SECRET, "there is no webhook: name endpoints in hooks.endpoints"),
        (
            ["--set", CRM],
            "",
            "hooks.endpoints.crm has no secret to sign with: set PENSTOCK_HOOKS_SECRET, or",
        ),
        (
            ["--set", CRM],
            "hunter2",
            "PENSTOCK_HOOKS_SECRET is no secret: `whsec_` and base64 of at least 24 bytes",
        ),
        (
            ["--set", "hooks.endpoints.crm.url=ftp://crm.example/in"],
            SECRET,
            "url must be http:// or https:// with a host and without a login",
        ),
        (
            ["--set", CRM, "--again", "erp"],
            SECRET,
            "--again erp: endpoints are crm",
        ),
    ],
)
def test_an_impossible_configuration_is_a_one_line_error(
    words: list[str],
    secret: str,
    message: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PENSTOCK_HOOKS_SECRET", secret)
    assert main(["hooks", "--redis", redis_url, *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "hunter2" not in error


def test_check_reports_whether_an_endpoint_is_reachable(
    receiver: EndpointServer,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def check(url: str) -> tuple[int, list[str]]:
        crm = f"hooks.endpoints.crm={{url: '{url}', purpose: ads}}"
        code = main(["check", "--redis", redis_url, "--set", crm])
        assert code == 1  # of Kafka, which is not here
        lines = [line for line in capsys.readouterr().out.splitlines() if "hooks.crm" in line]
        return int(any("NOT GOOD" in line for line in lines)), lines

    server = receiver.url.partition("//")[2].partition("/")[0]
    assert check(receiver.url) == (
        0,
        [f"hooks.crm      good ({server} takes connections; *; there is a secret to sign with)"],
    )
    assert receiver.requests == []
    code, (line,) = check("http://localhost:1/x")
    assert (code, line) == (
        1,
        "hooks.crm      NOT GOOD: localhost:1 takes no connection: is hooks.endpoints.crm.url right?",
    )
    monkeypatch.delenv("PENSTOCK_HOOKS_SECRET")
    code, (line,) = check(receiver.url)
    assert code == 1
    assert "hooks.endpoints.crm has no secret to sign with" in line


def test_the_signature_check_in_the_docs_works(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    page = (Path(__file__).parents[3] / "docs/changes.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    example: dict[str, Any] = {}
    exec(code, example)
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(shop.write_moves(1))
    (one,) = receiver.accepted
    assert example["is_ours"](one.headers, one.body, SECRET)
    assert not example["is_ours"](one.headers, one.body + b" ", SECRET)
    assert not example["is_ours"](one.headers, one.body, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")


def test_commands_in_the_docs_are_valid() -> None:
    page = (Path(__file__).parents[3] / "docs/changes.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("penstock ")]
    assert len(lines) == 2
    for line in lines:
        assert callable(parser().parse_args(shlex.split(line)[1:]).run)
