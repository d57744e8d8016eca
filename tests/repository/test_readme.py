"""The README and the storefront's page say what is: commands, diagram, keys, files."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from flows.commands.cli import parser
from flows.runtime.diagram import diagram
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.reasons import EXPLORED, OWN_BRAND
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
        if "penstock" in line
    ],
)
def test_a_command_of_the_readme_is_understood(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/penstock"
    assert callable(parser().parse_args(arguments).run)


def test_the_diagram_is_the_flow() -> None:
    assert code(README, "mermaid") == [diagram() + "\n"]


def test_the_table_names_every_key_of_the_contract_with_its_type() -> None:
    table = dict(re.findall(r"^\| `(ps:1:[^`]+)` \| ([A-Z]+) \|", README, re.M))
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


def test_every_learner_and_rule_has_words_for_its_reason() -> None:
    # These always name an item; popularity's word is `popular`.
    learners = set(LEARNERS) - {"covisitation", "session_knn", "again", "content", "popularity"}
    assert learners | {"popular", OWN_BRAND, EXPLORED} == set(LEARNER_TEXTS)


@pytest.mark.parametrize("page", ["README.md", "docs/storefront.md", "docs/dashboard.md"])
def test_every_file_that_is_linked_or_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    linked = [(ROOT / page).parent / link for link in re.findall(r"\]\(([^):#]+)[^):]*\)", text)]
    named = [
        ROOT / name
        for name in re.findall(r"`((?:operators|flows|serving|state|tests)/[\w/.]+)`", text)
    ]
    assert [path for path in linked + named if not path.exists()] == []
