"""Kernels: compiled once, kept in a cache folder, replaced by their Python source if they fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from flows.process.kernel_cache import cache_folder, open_cache, prepare_kernels
from operators.kernels import compiler
from operators.kernels.compiler import Kernel, inlined, kernel
from operators.kernels.failures import failure_counts
from state.config import Settings
from state.config_deployment import Runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

COMPILES = not numba.config.DISABLE_JIT


@inlined
def _double(value: int) -> int:
    return 2 * value


def sum_of_doubles(values: NDArray[np.int64]) -> int:
    total = 0
    for value in values:
        total += _double(value)
    return total


SIGNATURE = "int64(int64[::1])"


@pytest.fixture(autouse=True)
def _cache_as_before() -> Iterator[None]:
    before = numba.config.CACHE_DIR
    yield
    numba.config.CACHE_DIR = before


def new_kernel() -> Kernel[[NDArray[np.int64]], int]:
    return kernel(SIGNATURE)(sum_of_doubles)


def test_a_kernel_gives_what_its_python_source_gives() -> None:
    values = np.arange(5)
    assert new_kernel()(values) == sum_of_doubles(values) == 20


def test_source_that_lies_in_no_file_is_compiled_and_not_cached(tmp_path: Path) -> None:
    compiler.use_cache(tmp_path)
    scope: dict[str, Any] = {"__name__": "nowhere"}
    exec("def increased(value):\n    return value + 1\n", scope)
    increased: Kernel[[int], int] = kernel("int64(int64)")(scope["increased"])
    assert not increased.compile()
    assert increased(2) == 3


@pytest.mark.skipif(not COMPILES, reason="nothing is compiled")
def test_compiled_code_is_kept_in_the_folder_and_loaded_from_there(tmp_path: Path) -> None:
    compiler.use_cache(tmp_path)
    assert not new_kernel().compile()
    again = new_kernel()
    assert again.compile()
    assert again(np.arange(4)) == 12


@pytest.mark.skipif(not COMPILES, reason="nothing is compiled")
@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_a_damaged_cache_costs_time_only(tmp_path: Path, content: bytes) -> None:
    compiler.use_cache(tmp_path)
    new_kernel().compile()
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert files
    for path in files:
        path.write_bytes(content)
    assert new_kernel()(np.arange(4)) == 12


@pytest.mark.skipif(not COMPILES, reason="nothing is compiled")
def test_a_new_folder_begins_with_the_prebuilt_kernels(tmp_path: Path) -> None:
    compiler.use_cache(tmp_path / "image")
    new_kernel().compile()
    compiler.use_cache(tmp_path / "recovery", prebuilt=[tmp_path / "image"])
    assert new_kernel().compile()


def test_a_folder_that_cannot_be_written_is_named_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings = Settings(runtime=Runtime(kernel_cache=str(tmp_path / "file" / "cache")))
    prepare_kernels(settings, None)
    assert numba.config.CACHE_DIR == ""
    assert [
        record.message for record in caplog.records if "cannot be written" in record.message
    ] == [
        f"{tmp_path}/file/cache cannot be written (Not a directory): kernels are compiled anew at "
        "each start, which takes about half a minute; set runtime.kernel_cache to a folder that can "
        "be written"
    ]
    assert new_kernel()(np.arange(4)) == 12


def test_the_folder_is_the_configured_one_or_lies_in_the_recovery_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    configured = Settings(runtime=Runtime(kernel_cache="/c"))
    assert str(cache_folder(configured, tmp_path)) == "/c"
    assert cache_folder(Settings(), tmp_path / "r") == tmp_path / "r" / "kernels"
    assert open_cache(Settings()) == tmp_path / "penstock" / "kernels"


def test_what_other_releases_compiled_is_removed(tmp_path: Path) -> None:
    compiler.use_cache(tmp_path)
    installation, _, _ = Path(numba.config.CACHE_DIR).name.rpartition("-")
    (tmp_path / f"{installation}-old" / "module").mkdir(parents=True)
    compiler.remove_stale(tmp_path)
    assert [str(path) for path in tmp_path.iterdir()] == [numba.config.CACHE_DIR]


def test_a_kernel_that_raises_is_replaced_by_its_source_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = new_kernel()

    def fail(values: NDArray[np.int64]) -> int:
        raise SystemError("no room for code")

    broken._compiled = fail
    before = failure_counts[broken.name]
    assert [broken(np.arange(4)), broken(np.arange(5))] == [12, 20]
    assert failure_counts[broken.name] == before + 2
    assert len([r for r in caplog.records if r.name == "penstock.kernels"]) <= 1
    del failure_counts[broken.name]


@pytest.mark.slow
def test_two_processes_fill_one_cache_at_the_same_time(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows", "warm", "--set", f"runtime.kernel_cache={tmp_path}"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(" kernels: " in output for output in outputs)
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ", 0 compiled" in third.stdout
