"""Who may look at the page, and how much a request may ask."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlencode

import pytest

from serving.dashboard import access
from serving.dashboard.server import Server
from state.errors import UserError
from tests.pages import Answer, served, settings, stream

TOKEN = "correct-horse-battery-staple"
FORM = {"content-type": "application/x-www-form-urlencoded"}
EVERYWHERE = "0.0.0.0:0"


def log_in(url: str, token: str) -> Answer:
    return Answer(url, "/login", "POST", urlencode({"token": token}), **FORM)


@pytest.fixture
def guarded(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> ExitStack:
    monkeypatch.setenv(access.TOKEN_VARIABLE, TOKEN)
    return ExitStack()


def test_beyond_this_machine_somebody_must_vouch(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    with pytest.raises(UserError, match=r"open to others: set PENSTOCK_DASHBOARD_TOKEN"):
        Server(settings(listen=EVERYWHERE), redis_url)
    monkeypatch.setenv(access.TOKEN_VARIABLE, "short")
    with pytest.raises(UserError, match="too short"):
        Server(settings(listen=EVERYWHERE), redis_url)


@pytest.mark.parametrize("listen", ["", "8600", "host:port", "host:99999", ":8600"])
def test_an_address_that_is_none_is_refused(redis_url: str, listen: str) -> None:
    with pytest.raises(UserError, match="expected host:port"):
        Server(settings(listen=listen), redis_url)


def test_a_port_that_is_taken_is_said_in_one_line(redis_url: str) -> None:
    with served(redis_url) as url, pytest.raises(UserError, match="in use: name another"):
        Server(settings(listen=url.removeprefix("http://")), redis_url)


@pytest.mark.usefixtures("guarded")
def test_a_token_opens_the_page_as_a_header_or_by_the_login_form(redis_url: str) -> None:
    with served(redis_url) as url:
        assert Answer(url, "/api/hello").status == 401
        assert Answer(url, "/").headers["location"] == "login"
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", ""):
            assert Answer(url, "/api/hello", authorization=wrong).status == 401
        assert Answer(url, "/api/hello", authorization=f"Bearer {TOKEN}").status == 200
        assert Answer(url, f"/api/hello?token={TOKEN}").status == 401
        let_in = log_in(url, TOKEN)
        assert (let_in.status, let_in.headers["location"]) == (303, "./")
        cookie = let_in.headers["set-cookie"]
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        name, _, value = cookie.partition(";")[0].partition("=")
        assert Answer(url, "/api/hello", cookie=f"{name}={value}").status == 200
        until, _, signature = value.partition(".")
        for forged in (f"{int(until) + 1}.{signature}", f"{until}.", "x.y", f"1.{signature}"):
            assert Answer(url, "/api/hello", cookie=f"{name}={forged}").status == 401


@pytest.mark.usefixtures("guarded")
def test_who_guesses_tokens_is_made_to_wait(redis_url: str) -> None:
    with served(redis_url) as url:
        said = [log_in(url, f"guess {n}").status for n in range(access.FAILURES_MAX + 1)]
        assert said == [403] * access.FAILURES_MAX + [429]
        assert log_in(url, TOKEN).status == 429
        assert Answer(url, "/api/hello", authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.usefixtures("guarded")
def test_a_login_as_long_as_a_book_is_not_read(redis_url: str) -> None:
    with served(redis_url) as url:
        assert log_in(url, "x" * access.FORM_BYTES_MAX).status == 413


def test_a_proxy_says_who_asks_in_the_header_that_is_named(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(access.TOKEN_VARIABLE, raising=False)
    with served(redis_url, listen=EVERYWHERE, proxy_header="X-Forwarded-User") as url:
        local = url.replace("0.0.0.0", "127.0.0.1")
        assert Answer(local, "/api/hello").status == 401
        assert Answer(local, "/api/hello", x_forwarded_user="ann").status == 200


def test_another_site_cannot_have_a_browser_read_the_page(redis_url: str) -> None:
    with served(redis_url) as url:
        assert Answer(url, "/api/hello", host="evil.example").status == 421
        assert Answer(url, "/api/hello", host="localhost:1234").status == 200
        assert "access-control-allow-origin" not in Answer(url, "/api/hello").headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/history?span=hour", 200),
        ("/api/history?span=ever", 400),
        ("/api/members?segment=a&from=0", 200),
        ("/api/members?segment=a&from=-1", 400),
        ("/api/members?segment=a&from=9999999999", 400),
        ("/api/members?from=0", 400),
        ("/api/export", 400),
        ("/api/stream?segment=" + "x" * 300, 400),
        ("/static/../app.py", 404),
        ("/api/nothing", 404),
    ],
)
def test_what_a_request_may_ask_is_limited(redis_url: str, path: str, status: int) -> None:
    with served(redis_url) as url:
        assert Answer(url, path).status == status
        assert Answer(url, path, "POST").status in (404, 405)


def test_no_more_pages_than_configured(redis_url: str) -> None:
    with served(redis_url, tabs_max=2) as url, stream(url) as one, stream(url) as other:
        assert next(one)
        assert next(other)
        refused = Answer(url, "/api/stream")
        assert refused.status == 503
        assert "raise serving.tabs_max" in refused.text


def test_a_redis_that_is_away_is_said_in_one_line() -> None:
    with served("unix:///nowhere/redis.sock") as url:
        answer = Answer(url, "/api/history?span=hour")
        assert (answer.status, answer.text.count("\n")) == (503, 1)
        assert "does not answer: start it" in answer.text
        with stream(url) as messages:
            assert "does not answer: start it" in next(messages)[0]["trouble"]
