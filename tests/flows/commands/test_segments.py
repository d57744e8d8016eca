"""`penstock segments` with a live run: a preview predicts what a changed rule does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest

from flows.commands.cli import main
from state import keys
from state.store import Store
from tests.live_runs import Live

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

FIRST = """
buyers: {name: Buyers, when: purchases >= 1}
lookers: {when: {all: [views >= 3, not: {segment: buyers}]}}
going: {when: events >= 1}
"""
SECOND = """
buyers: {name: Buyers, when: purchases >= 2}
lookers: {when: {all: [views >= 3, not: {segment: buyers}]}}
keen: {when: {event: item_view, count: at least 2, within: 24 h}}
"""


@pytest.fixture
def live(kafka_broker: AnyBroker, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with Live(kafka_broker, "segments", redis_url, tmp_path) as found:
        yield found


class Said:
    """What `penstock segments` says of a run, with the rules of a file."""

    def __init__(self, live: Live, capsys: pytest.CaptureFixture[str]) -> None:
        self._live = live
        self._capsys = capsys
        self.code = 0

    def __call__(self, way: str, *words: str, rules: str) -> str:
        file = self._live.folder / "asked.yaml"
        file.write_text(rules)
        words = ("segments", way, *words, "--redis", self._live.redis_url)
        words += ("--set", f"segments.file={file}")
        if way in ("why", "preview"):
            words += ("--recovery", str(self._live.folder / "recovery"))
        self.code = main(words)
        captured = self._capsys.readouterr()
        return captured.out + captured.err


def members(url: str, sid: str) -> dict[str, int]:
    store = Store(url, timeout_ms=2000, patience_s=2)
    found = store.client.zrange(keys.members_key(sid), 0, -1, withscores=True)
    store.close()
    return {name.decode(): int(at_ms) for name, at_ms in found}


def registry(url: str) -> dict[str, tuple[int, str]]:
    store = Store(url, timeout_ms=2000, patience_s=2)
    found = {
        sid.decode(): orjson.loads(text)
        for sid, text in store.client.hgetall(keys.registry_key()).items()
    }
    store.close()
    return {
        sid: (one["version"], one["status"]) for sid, one in found.items() if one["kind"] == "rule"
    }


def previewed(text: str) -> tuple[int, int, int]:
    """Size, and how many would enter and leave."""
    size = re.search(r"^size +(?:about )?([\d,]+)", text, re.MULTILINE)
    change = re.search(r"^change +(?:about )?\+([\d,]+) / -([\d,]+)", text, re.MULTILINE)
    assert size, text
    assert change, text
    numbers = [int(one.replace(",", "")) for one in (size[1], *change.groups())]
    return numbers[0], numbers[1], numbers[2]


@pytest.mark.slow
def test_a_preview_predicts_what_a_changed_rule_does(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "segments.yaml"
    file.write_text(FIRST)
    said = Said(live, capsys)
    live.send(3000)
    run = live.start(segments__file=file)
    run.until(live.caught_up)
    run.until(lambda: registry(live.redis_url).get("going") == (1, "live"))
    run.until(lambda: live.committed() == live.sent)  # the snapshot, too, holds everything
    before = members(live.redis_url, "buyers")

    listed = said("list", rules=FIRST)
    assert re.search(rf"^buyers +rule +{len(before)} .* 1 +Buyers$", listed, re.MULTILINE)
    assert "segment   buyers: Buyers" in said("show", "buyers", rules=FIRST)
    newest = max(before, key=lambda name: (before[name], name))
    assert said("members", "buyers", "--limit", "1", rules=FIRST).split()[-1] == newest
    assert said("diff", rules=FIRST) == "the same as live\n"
    assert said("diff", rules=SECOND).splitlines() == [
        "buyers: version 2",
        "  - purchases at least 1",
        "  + purchases at least 2",
        "going: taken out",
        "  - events at least 1",
        "keen: new",
        "  + item view (at least 2) within 24 h",
        "lookers: version 2",  # which refers to buyers
        "  - items viewed at least 3 and not purchases at least 1",
        "  + items viewed at least 3 and not purchases at least 2",
    ]
    reasons = said("why", newest, "lookers", rules=FIRST).splitlines()
    assert reasons[0].endswith(": not in")
    parts = [
        r"no  items viewed at least 3 and not purchases at least 1",
        r"  (yes|no ) items viewed at least 3: \d+",
        r"  no  not purchases at least 1: [1-9]\d*",
    ]
    for line, part in zip(reasons[1:], parts, strict=True):
        assert re.fullmatch(part, line)

    shown = said("preview", "buyers", rules=SECOND)
    size, enter, leave = previewed(shown)
    assert (enter, size) == (0, len(before) - leave)
    assert 0 < leave < len(before)
    assert "not kept  item view" in said("preview", "keen", rules=SECOND)
    sampled = said("preview", "buyers", "--sample", "2", rules=SECOND)
    low, high = re.findall(r"between (\d+) and (\d+)", sampled)[0]
    assert int(low) < int(high)

    assert run.stop()[0] == 0
    file.write_text(SECOND)
    live.send(1)
    run = live.start(segments__file=file)
    run.until(lambda: registry(live.redis_url).get("buyers") == (2, "live"))
    after = members(live.redis_url, "buyers")
    # Who stays has been in it since it was entered.
    assert after.items() <= before.items()
    assert abs(len(after) - size) <= 1
    assert registry(live.redis_url) == {
        "buyers": (2, "live"),
        "lookers": (2, "live"),
        "keen": (1, "live"),
        "going": (1, "retired"),
    }
    assert members(live.redis_url, "going") == {}
    assert "version   2" in said("show", "buyers", rules=SECOND)
    assert run.stop()[0] == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("show", "nobody"), "penstock: no segment 'nobody': `penstock segments list` shows all"),
        (("preview", "nobody"), "asked.yaml: no rule `nobody`: name one of that file"),
        (("preview", "buyers"), "not the recovery folder of a run: name it with --recovery DIR"),
    ],
)
def test_an_unknown_segment_or_shopper_is_one_error_line(
    live: Live, words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Said(live, capsys)
    assert line in said(*words, rules=FIRST)
    assert said.code in (1, 2)


def test_why_prints_the_fields_that_decide_a_computed_segment(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Store(redis_url, timeout_ms=2000, patience_s=2).client
    about = {"kind": "rfm", "version": 1, "status": "live", "name": "Loyal"}
    client.hset(keys.registry_key(), "rfm-loyal", orjson.dumps(about))
    client.hset(keys.definition_key("rfm-loyal"), "rule", "R 4, F and M 4")
    client.hset(keys.profile_key("ann"), mapping={"rfm": "444", "views": "3"})
    client.hset(keys.segments_key("ann"), "rfm-loyal", "1767225600000")
    client.zadd(keys.members_key("rfm-loyal"), {"ann": 1767225600000})

    def said(*words: str) -> tuple[int, str]:
        code = main(("segments", *words, "--redis", redis_url))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    assert said("why", "ann", "rfm-loyal") == (
        0,
        "ann: in since 2026-01-01 00:00:00 UTC\n"
        "asks              R 4, F and M 4\n"
        "rfm               444\n",
    )
    code, text = said("why", "bob", "rfm-loyal")
    assert (code, "knows no shopper 'bob'" in text) == (1, True)
    code, text = said("why", "ann", "win-back")
    assert (code, "name the recovery folder with --recovery DIR" in text) == (2, True)
    assert said("members", "rfm-loyal") == (0, "2026-01-01 00:00:00 UTC  ann\n")
    for limit in ("0", "-3"):
        assert said("members", "rfm-loyal", "--limit", limit)[1].endswith("give 1 or more\n")
