"""Signatures of webhooks: the symmetric ones of Standard Webhooks 1.0 (standardwebhooks.com).

A secret is `whsec_` and base64. HMAC-SHA256 covers id, time and body, so that nobody can change one of
them or replay an old message. The form is public (docs/changes.md).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from state.errors import ConfigurationError

PREFIX = "whsec_"
SECRET_BYTES_MIN = 24


def parse_secrets(text: str, variable: str) -> list[bytes]:
    """The secrets in the text of an environment variable, separated by blanks. Each of them signs.

    Raises ConfigurationError.

    >>> parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "X")[0].hex()[:8]
    '31f290f6'
    """
    secrets: list[bytes] = []
    for word in text.split():
        try:
            secret = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not word.startswith(PREFIX) or len(secret) < SECRET_BYTES_MIN:
            raise ConfigurationError(
                f"{variable} is no secret: `{PREFIX}` and base64 of at least {SECRET_BYTES_MIN} bytes; "
                f'make one with: echo "{PREFIX}$(openssl rand -base64 32)"'
            )
        secrets.append(secret)
    return secrets


def signature_headers(
    secrets: list[bytes], message_id: str, at_s: int, body: bytes
) -> dict[str, str]:
    """The headers of a message sent at a time (s since 1970), with a signature for each secret."""
    signed_content = f"{message_id}.{at_s}.".encode() + body
    signatures = [hmac.new(secret, signed_content, hashlib.sha256).digest() for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(
            "v1," + base64.b64encode(signature).decode() for signature in signatures
        ),
    }
