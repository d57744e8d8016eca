"""The README and the storefront's page say what is: commands, diagram, keys, files."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import redis

from flows.commands.cli import parser
from flows.runtime.diagram import diagram
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.reasons import RULE_REASONS
from serving.explain import LEARNER_TEXTS
from state import keys

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DASHBOARD = (ROOT / "docs" / "dashboard.md").read_text()
EVALUATE = (ROOT / "docs" / "evaluate.md").read_text()
TUNE = (ROOT / "docs" / "tune.md").read_text()
STOREFRONT = (ROOT / "docs" / "storefront.md").read_text()

CONTRACT_KEYS = re.findall(r"^(ps:1:\S+)", keys.__doc__ or "", re.M)
CONTRACT_TYPES = dict(re.findall(r"^(ps:1:\S+) +([A-Z]+)", keys.__doc__ or "", re.M))


def code(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_the_first_commands_are_demo_and_test() -> None:
    first = [line.split("#")[0].strip() for line in code(README, "sh")[0].splitlines()]
    assert first == ["make demo", "make test"]


@pytest.mark.parametrize(
    "line",
    [
        line
        for page in (README, DASHBOARD, EVALUATE, TUNE)
        for block in code(page, "sh")
        for line in block.splitlines()
        if line.startswith(".venv/bin/penstock")
    ],
)
def test_a_command_of_the_readme_is_understood(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/penstock"
    assert callable(parser().parse_args(arguments).run)


def test_the_diagram_is_the_flow() -> None:
    assert code(README, "mermaid") == [diagram() + "\n"]


def test_the_event_of_the_readme_gives_the_list_of_the_readme(redis_url: str) -> None:
    event, shown = code(README, "json")
    send, read = (block for block in code(README, "sh") if "visitor-1" in block)
    assert event.strip() in send
    replay = ["-c", send.replace(".venv/bin/penstock", f"{sys.executable} -m flows")]
    replay[1] = replay[1].replace("redis://localhost:6379", redis_url)
    subprocess.run(["/bin/sh", *replay], check=True, cwd=ROOT, capture_output=True)
    program, *words = shlex.split(read)
    assert program == "redis-cli"
    with redis.Redis.from_url(redis_url) as client:
        assert orjson.loads(client.execute_command(*words)) == orjson.loads(shown)


def test_the_table_names_every_key_of_the_contract_with_its_type() -> None:
    table = dict(re.findall(r"^\| `(ps:1:[^`]+)` \| ([A-Z]+) \|", STOREFRONT, re.M))
    assert table == CONTRACT_TYPES


@pytest.mark.parametrize("name", [name for name in vars(keys) if name.endswith("_key")])
def test_every_key_that_is_built_begins_as_one_of_the_contract(name: str) -> None:
    build = getattr(keys, name)
    built = build(*["x"] * len(inspect.signature(build).parameters))
    shapes = [re.sub(r"[{<].*?[>}]", ".+", key) for key in CONTRACT_KEYS]
    if name == "shopper_key":  # what several keys begin with
        built += "profile"
    assert any(re.fullmatch(shape, built) for shape in shapes)


def test_the_storefront_page_explains_every_key() -> None:
    assert [key for key in CONTRACT_KEYS if key not in STOREFRONT] == []


def test_every_rule_has_a_text_for_its_reason_and_no_text_is_of_an_unknown_learner() -> None:
    """A learner without a text is named: it may give items as reasons, and then needs none."""
    others = {"popular", *RULE_REASONS}
    assert others <= set(LEARNER_TEXTS) <= others | set(LEARNERS)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *[f"docs/{one.name}" for one in sorted((ROOT / "docs").glob("*.md"))],
    ],
)
def test_every_file_that_is_linked_or_named_is_there(page: str) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    text = re.sub(r"Create `[^`]+`", "", text)
    linked = [(ROOT / page).parent / link for link in re.findall(r"\]\(([^):#]+)[^):]*\)", text)]
    named = [
        ROOT / name
        for name in re.findall(r"`((?:operators|flows|serving|state|tests)/[\w/.]+)`", text)
    ]
    named = [path for path in named if path.name != "FORMAT"]  # a placeholder
    assert [path for path in linked + named if not path.exists()] == []


def test_the_glossary_has_at_most_sixty_terms_each_once() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    terms = re.findall(r"^\| ([^|]+) \| .+ \| \[(.+)\]\(\.\./\2\) \|$", page, re.M)
    assert len(terms) == page.count("\n| ") - 1
    assert len({term for term, _ in terms}) == len(terms) <= 60


def test_the_click_passes_at_most_twelve_stops_and_each_names_what_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split("## One click")[1].split("\n## ")[0]
    stops = re.findall(r"^\d+\. .*?(?=^\d+\. |\Z)", section, re.M | re.S)
    assert 8 <= len(stops) <= 12
    for stop in stops:
        path, name = re.findall(r"`([\w/.]+\.py)`: `([\w.]+)`", stop)[0]
        source = (ROOT / path).read_text()
        assert all(re.search(rf"(?:class|def) {one}\b", source) for one in name.split(".")), stop
