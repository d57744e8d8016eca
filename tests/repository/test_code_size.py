"""How the code is cut: short files, short functions, and one class for a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = [
    path.relative_to(ROOT)
    for folder in ("flows", "operators", "serving", "state")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
LINES = {path: len((ROOT / path).read_text().splitlines()) for path in PRODUCT}
TREES = {path: ast.parse((ROOT / path).read_text()) for path in PRODUCT}


def test_files_are_short() -> None:
    assert {path: lines for path, lines in LINES.items() if lines > 400} == {}
    assert median(LINES.values()) <= 150


def test_functions_are_short() -> None:
    long = [
        (str(path), node.name)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []


def test_a_class_name_stands_for_one_class_or_for_its_section_of_the_configuration() -> None:
    files = defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not path.name.startswith("config"):
                files[node.name].append(str(path))
    assert {name: found for name, found in files.items() if len(found) > 1} == {}


@pytest.mark.parametrize("folder", ["flows", "operators"])
def test_a_folder_has_at_most_sixteen_folders_and_sixteen_files(folder: str) -> None:
    entries = [one for one in (ROOT / folder).iterdir() if one.name != "__pycache__"]
    assert len([one for one in entries if one.is_dir()]) <= 16
    assert len([one for one in entries if one.is_file()]) <= 16


def test_every_folder_says_what_it_is_for_and_what_may_be_changed() -> None:
    packages = [path for path in PRODUCT if path.name == "__init__.py"]
    assert [path for path in packages if not ast.get_docstring(TREES[path])] == []
