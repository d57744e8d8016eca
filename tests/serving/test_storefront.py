"""The readers in the docs (Python, JavaScript) know only the contract and read the same as `serving`."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from flows.runtime.replay import replay_recordings
from operators.synthetic.traffic import generate_events
from serving.reader import Storefront
from state import config, keys
from state.events import Event, Item
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.process.embedded_redis import EmbeddedRedis
    from flows.sources.recorded import Records

ROOT = Path(__file__).parents[2]
STRANGE = "né {w}:50% 🛒"
"""An id that would break keys that are put together carelessly."""
AT_MS = 1_767_225_700_000


def blocks(language: str) -> list[str]:
    """The code blocks of the storefront's page in one language."""
    page = (ROOT / "docs/storefront.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)


def strange_visit() -> Iterator[Event]:
    for n, item in enumerate(["mug-0001", "mug-0002"]):
        yield Event(f"strange-{n}", "item_view", AT_MS + n, 0, STRANGE, items=(Item(item),))


class Shop(NamedTuple):
    """A Redis that holds a small shop's lists, and whom to ask for: each finds a list elsewhere."""

    storefront: Storefront
    url: str
    visitors: dict[str, str]


@pytest.fixture(scope="module")
def filled(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    redis_server.send_command("FLUSHALL")
    letters = tmp_path_factory.mktemp("letters") / "none.jsonl"
    visits: dict[str, Records] = {
        "shop": lambda: generate_events(events=9000, shoppers=400, items=60),
        "strange": strange_visit,
    }
    settings = config.Settings(source=config.Source(batch_events=512))
    replay_recordings(visits, settings, redis_url=redis_server.url, dead_letters=letters)
    store = Store(redis_server.url, timeout_ms=2000, patience_s=0)
    storefront = Storefront(store)
    clusters = [one for one in storefront.segments() if one.sid.startswith("cluster-")]
    crowd = max(clusters, key=lambda segment: segment.size)
    members = storefront.newest_members(crowd.sid, 100)
    liking = [name for name in members if "top_category" in storefront.profile(name)]
    own, in_segment, in_category, forgotten = liking[:4]
    for shopper in (in_segment, in_category, forgotten):
        store.client.delete(keys.top_key(shopper, "home"))
    store.client.delete(keys.segments_key(in_category), keys.segments_key(forgotten))
    store.client.delete(keys.profile_key(forgotten))
    alias = next(key for key, _ in store.rows("ps:1:alias:*"))
    visitors = {
        own: "own list",
        alias[len("ps:1:alias:{") : -1]: "own list",
        STRANGE: "own list",
        in_segment: f"popular in the segment {crowd.sid}",
        in_category: f"popular in the category {storefront.profile(in_category)['top_category']}",
        forgotten: "popular in the whole shop",
        "nobody": "popular in the whole shop",
    }
    return Shop(storefront, redis_server.url, visitors)


def lists(filled: Shop) -> dict[str, list[str]]:
    """What `serving` reads for each visitor."""
    found = {v: filled.storefront.list_for(filled.storefront.resolve(v)) for v in filled.visitors}
    return {v: [entry.item for entry in top.entries] if top else [] for v, top in found.items()}


def test_fallbacks_are_segment_then_category_then_whole_shop(filled: Shop) -> None:
    found = {v: filled.storefront.list_for(filled.storefront.resolve(v)) for v in filled.visitors}
    assert {v: top and top.origin for v, top in found.items()} == filled.visitors
    assert all(lists(filled).values())


def test_python_reads_the_same(filled: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    (reader,) = blocks("python")
    monkeypatch.setenv("REDIS_URL", filled.url)
    room: dict[str, Any] = {}
    exec(reader, room)
    assert {visitor: room["items_for"](visitor) for visitor in filled.visitors} == lists(filled)


def javascript(folder: Path, then: str, redis_socket: str, *words: str) -> Any:
    """What the reader of the documents prints as JSON, in a program that goes on with `then`."""
    reader, client = blocks("js")
    script = folder / "reader.mjs"
    script.write_text(f"{client}\n{reader}\n{then}")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install nodejs")
    read = subprocess.run(
        [node, script, *words],
        env={"REDIS_SOCKET": redis_socket},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (read.stderr, read.returncode) == ("", 0)
    return json.loads(read.stdout)


def test_javascript_reads_the_same(filled: Shop, tmp_path: Path) -> None:
    then = (
        "const read = {};\n"
        "for (const one of process.argv.slice(2)) read[one] = await itemsFor(one);\n"
        "console.log(JSON.stringify(read));\n"
        "socket.end();\n"
    )
    path = filled.url.removeprefix("unix://")
    assert javascript(tmp_path, then, path, *filled.visitors) == lists(filled)


@pytest.fixture(params=["away", "silent"])
def unwell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The socket of a Redis that is not there, or that takes what it is asked and says nothing."""
    path = tmp_path / "redis.sock"
    if request.param == "away":
        yield str(path)
        return
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield str(path)


def test_python_falls_back_to_the_shops_own_list(
    unwell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reader,) = blocks("python")
    monkeypatch.setenv("REDIS_URL", f"unix://{unwell}")
    room: dict[str, Any] = {}
    exec(reader, room)
    room["OWN_LIST"] += ["ours-1", "ours-2"]
    assert room["items_for"]("somebody") == ["ours-1", "ours-2"]


def test_javascript_falls_back_to_the_shops_own_list(unwell: str, tmp_path: Path) -> None:
    then = (
        'OWN_LIST.push("ours-1", "ours-2");\n'
        'console.log(JSON.stringify([await itemsFor("somebody"), await itemsFor("else")]));\n'
        "socket.destroy();\n"
    )
    assert javascript(tmp_path, then, unwell) == [["ours-1", "ours-2"]] * 2
