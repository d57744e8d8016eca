"""The options of the command line: the common ones of every command, and a help text for each."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from flows.commands.cli import COMMANDS, parser

if TYPE_CHECKING:
    from collections.abc import Iterator

EXPERIMENTS = {f"experiments {name}" for name in ("list", "check", "assign", "power", "show")}
WITHOUT_REDIS = {"demo", "evaluate", "tune", "redrive", "warm"} | EXPERIMENTS
"""`demo` has a private Redis; the others do not use Redis."""


def commands(
    of: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command and every action of a command, by its words."""
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                full = f"{name} {word}".strip()
                yield full, below
                yield from commands(below, full)


ALL = dict(commands(parser()))
LEAVES = [name for name, command in ALL.items() if command.get_default("run")]


def test_every_command_is_declared() -> None:
    assert {name.split()[0] for name in ALL} == set(COMMANDS)


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_the_common_options(name: str) -> None:
    options = ALL[name]._option_string_actions.keys()
    assert options >= {"--config", "--set"}
    assert ("--redis" in options) == (name not in WITHOUT_REDIS)


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_a_help_text(name: str) -> None:
    assert ALL[name].description
    without = [
        action.dest for action in ALL[name]._actions if action.option_strings and not action.help
    ]
    assert without == []


def test_common_options_before_and_after_the_command_are_one_list() -> None:
    before = ["--set", "lists.k=3", "--config", "a.yaml", "--redis", "redis://a"]
    args = parser(["show"]).parse_args([*before, "show", "ann", "--set", "lists.k=4"])
    assert (args.common_set, args.set) == (["lists.k=3"], ["lists.k=4"])
    assert (str(args.common_config), args.common_redis) == ("a.yaml", "redis://a")
