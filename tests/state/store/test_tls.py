"""TLS and users: certificates are verified, traffic is encrypted, the documented rights are enough."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from state.errors import StoreError, UserError
from state.store import USER_VARIABLE, AsyncPipe, Fence, Lease, Store
from tests.pages import in_loop
from tests.redis_cluster import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return tmp_path / "cert.pem"


@pytest.fixture
def port(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    port = free_port()
    try:
        server = EmbeddedRedis(
            tls_port=str(port),
            tls_cert_file=str(certificate),
            tls_key_file=str(certificate.with_name("key.pem")),
            tls_auth_clients="no",
        ).__enter__()
    except UserError as error:
        if "REQUIRE_REDIS" in os.environ:
            raise
        pytest.skip(f"no redis-server with TLS: {error}")
    yield port
    server.__exit__(None, None, None)


def test_writes_and_reads_are_encrypted(port: int, certificate: Path) -> None:
    url = f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"
    store = Store(url, timeout_ms=2000, patience_s=5)
    store.check()
    store.send([("SET", f"ps:1:{n}", "x" * 1000) for n in range(3000)])
    store.send([("SET", f"ps:1:{n}", "y") for n in range(3000)])
    store.flush()
    assert {value for name, value in store.rows() if name != keys.meta_key()} == {b"y"}
    store.close()


def test_many_requests_at_once_are_encrypted(port: int, certificate: Path) -> None:
    async def ask() -> list[list[bytes]]:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"
        pipe = AsyncPipe(url, timeout_ms=5000, call_timeout_s=5.0)
        try:
            calls = [pipe.call([("ECHO", str(n) * 500)]) for n in range(100)]
            return [*await asyncio.gather(*calls)]
        finally:
            await pipe.close()

    assert in_loop(ask()) == [[str(n).encode() * 500] for n in range(100)]


def test_an_untrusted_certificate_is_refused(port: int) -> None:
    store = Store(f"rediss://localhost:{port}", timeout_ms=2000, patience_s=5)
    with pytest.raises(StoreError, match=r"certificate that is not trusted .*ssl_ca_certs"):
        store.check()
    store.send([("SET", "ps:1:a", 1)])
    with pytest.raises(StoreError, match="certificate that is not trusted"):
        store.flush()


def test_the_login_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis() as server:
        server.send_command("ACL SETUSER shop on >secret ~ps:1:* +@all -hset")
        monkeypatch.setenv(USER_VARIABLE, "shop")
        monkeypatch.setenv("PENSTOCK_REDIS_PASSWORD", "secret")
        store = Store(server.url, timeout_ms=2000, patience_s=5)
        store.send([("SET", "ps:1:a", 1)])
        store.flush()
        assert server.send_command("EXISTS ps:1:a") == ":1"
        store.send([("HSET", "ps:1:h", "a", 1)])
        with pytest.raises(StoreError, match="refused the user HSET on ps:1:h"):
            store.flush()


@pytest.mark.parametrize("role", ["A writer", "A reader"])
def test_the_documented_rights_are_enough(role: str) -> None:
    text = Path("docs/redis.md").read_text()
    found = re.search(rf"{role}: `([^`]*)`", text)
    assert found is not None
    with EmbeddedRedis() as server:
        server.send_command("HSET ps:1:h a 1")
        rights = " ".join(found[1].split())
        assert server.send_command(f"ACL SETUSER shop on >secret ~ps:1:* -@all {rights}") == "+OK"
        url = server.url.replace("unix://", "unix://shop:secret@")
        store = Store(url, timeout_ms=2000, patience_s=5)
        assert dict(store.rows("ps:1:h")) == {"ps:1:h": [(b"a", b"1")]}
        if role == "A writer":
            lease = Lease(url, "shop", "a", 10)
            writing = Store(
                url, timeout_ms=2000, patience_s=5, fence=Fence("shop", lease.acquire())
            )
            writing.check()
            for entry in ("2-0", "1-0"):  # refused, and looked for
                writing.send([("XADD", "ps:1:changes:{1}", entry, "n", 1)])
            writing.flush()
            assert [n for n, _ in writing.client.xrange("ps:1:changes:{1}")] == [b"1-0"]
            writing.close()
            lease.release()
