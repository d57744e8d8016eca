"""What a start does not need is not loaded by it, and is there when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED_BY = {
    "scipy.stats": "scipy.stats._stats_py",
    "scipy.optimize": "scipy.optimize._optimize",
    "scipy.sparse.csgraph": "scipy.sparse.csgraph._traversal",
    "numba": "numba.core",
    "river.drift": "river.drift",
}
"""A module that is only there once the other was really loaded."""


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def loaded(after: str, *arguments: str) -> set[str]:
    """Which of the dear modules are loaded after some code."""
    printed = run(f"import sys\n{after}\nprint('loaded:', *sys.modules)", *arguments)
    modules = printed.rpartition("loaded:")[2].split()
    return {name for name, part in LOADED_BY.items() if part in modules}


def test_a_start_of_the_flow_loads_no_statistics_and_no_optimizers() -> None:
    assert loaded("import flows.runtime.replay, flows.runtime.live") == {"numba", "river.drift"}


@pytest.mark.parametrize("module", ["flows.commands.cli", "flows.commands.show"])
def test_commands_that_run_no_flow_load_nothing_dear(module: str) -> None:
    assert loaded(f"import {module}") == set()


def test_the_help_loads_nothing_dear() -> None:
    code = """
from contextlib import suppress
from flows.commands.cli import main
with suppress(SystemExit):
    main(["--help"])
"""
    assert loaded(code) == set()


def test_what_was_deferred_loads_when_it_is_used() -> None:
    code = """
import operators.models
from scipy import optimize, stats
import sys
before = "scipy.stats._stats_py" in sys.modules, "scipy.optimize._optimize" in sys.modules
print(before, stats.rankdata([3, 1]).tolist(), optimize.linear_sum_assignment([[1.0]])[0])
import scipy.stats
from scipy.stats import binomtest
print(scipy.stats is stats is sys.modules["scipy.stats"], binomtest(5, 10).pvalue)
"""
    assert run(code) == "(False, False) [2.0, 1.0] [0]\nTrue 1.0\n"


def test_a_module_that_is_loaded_stays_as_it_is() -> None:
    code = """
import scipy.stats as first
from operators.models.deferred_imports import defer_import
defer_import("scipy.stats")
import scipy.stats as second
print(first is second, second.rankdata([3, 1]).tolist())
"""
    assert run(code) == "True [2.0, 1.0]\n"
