"""Signatures: those of Standard Webhooks, one for each secret."""

from __future__ import annotations

import pytest

from operators.publish.webhooks.signing import parse_secrets, signature_headers
from state.errors import ConfigurationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = b'{"test": 2432232314}'


def signatures(secrets: str) -> list[str]:
    headers = signature_headers(
        parse_secrets(secrets, "X"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY
    )
    return headers["webhook-signature"].split()


def test_headers_are_those_of_the_example_in_the_specification() -> None:
    headers = signature_headers(
        parse_secrets(SECRET, "X"), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_of_two_secrets_signs() -> None:
    assert signatures(f"{SECRET} {OTHER}") == signatures(SECRET) + signatures(OTHER)
    assert len({*signatures(f"{SECRET} {OTHER}")}) == 2


@pytest.mark.parametrize(
    "text",
    [SECRET.removeprefix("whsec_"), "whsec_c2hvcnQ=", "whsec_not base64!", f"{SECRET} whsec_"],
    ids=["no prefix", "too short", "not base64", "second one is empty"],
)
def test_a_bad_secret_is_an_error_that_says_how_to_make_one(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"X is no secret.*openssl rand -base64 32"):
        parse_secrets(text, "X")
