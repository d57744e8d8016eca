"""A terminal in an empty folder, and a recorded log to replay."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

from operators.synthetic.traffic import encode_lines, generate_events
from tests.flows.commands.runs import EVENTS, Terminal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def terminal(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    return Terminal(capfd)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded log: first the items of the shop, then events, some repeated or cut off."""
    path = tmp_path_factory.mktemp("log") / "shop.jsonl"
    events = generate_events(events=EVENTS, shoppers=300, items=50)
    named = list(encode_lines(islice(events, 50)))
    sent = [*named, *encode_lines(events, repeated=0.02, damaged=0.01)]
    path.write_bytes(b"".join(b"%s\n" % line for line in sent))
    return path
