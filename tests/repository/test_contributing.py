"""The recipes of CONTRIBUTING.md, carried out word for word in a copy of the repository.

A step is one of: Create `file` with the block; In `file`, below `line`, add the block; In `file`,
replace `words` with the block; Run `command`, which has to succeed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
COPIED = ("flows", "operators", "serving", "state", "tests", "benchmarks", "docs", ".ci", "deploy")
ASKED_FOR = {
    "A reader",
    "A profile field",
    "A cluster feature",
    "A candidate generator",
    "A list rule",
    "A segment kind",
    "A dataflow step",
    "A metric",
}


class Step(NamedTuple):
    text: str
    block: str


def recipes() -> dict[str, list[Step]]:
    """The numbered steps below each heading that has any."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        steps = [
            Step(
                re.split(r"^ *```", step, flags=re.M)[0].strip(),
                "".join(
                    re.sub(r"^ {3}", "", block, flags=re.M)
                    for block in re.findall(r"^ {3}```\w*\n(.*?)^ {3}```$", step, re.M | re.S)
                ),
            )
            for step in re.split(r"^\d+\. ", body, flags=re.M)[1:]
        ]
        if steps:
            found[title] = steps
    return found


def carry_out(step: Step, folder: Path) -> None:
    quoted = re.findall(r"`([^`]+)`", step.text)
    if step.text.startswith("Create"):
        path = folder / quoted[0]
        assert not path.exists()
        path.write_text(step.block)
    elif step.text.startswith("Run"):
        words = shlex.split(quoted[0])
        assert words[0] == ".venv/bin/python"
        ran = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "HOME": str(folder)},
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    else:
        assert step.text.startswith("In "), step.text
        path, anchor = folder / quoted[0], quoted[1]
        text = path.read_text()
        assert text.count(anchor) == 1, f"{quoted[0]} has {text.count(anchor)} times {anchor}"
        if "below" in step.text:
            start = text.index("\n", text.index(anchor)) + 1
            path.write_text(text[:start] + step.block + text[start:])
        else:
            assert "replace" in step.text
            path.write_text(text.replace(anchor, step.block.strip("\n")))


def test_every_recipe_that_is_asked_for_is_there_and_short() -> None:
    assert {title: len(steps) <= 8 for title, steps in recipes().items()} == dict.fromkeys(
        ASKED_FOR, True
    )


@pytest.mark.slow
@pytest.mark.parametrize("title", sorted(ASKED_FOR))
def test_a_recipe_works_as_it_is_written(title: str, tmp_path: Path) -> None:
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, tmp_path)
    steps = recipes()[title]
    assert steps[-1].text.startswith("Run")
    for step in steps:
        carry_out(step, tmp_path)
