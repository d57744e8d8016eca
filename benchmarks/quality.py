"""How good are the lists, and can the ruler be trusted?

`penstock evaluate` with the default configuration on five public data sets: each learner, the blend
and plain references on the same cases, with what is published and what is asked for beside them.

| data | protocol |
|---|---|
| `yoochoose1_64` | the training sessions are learned once, then 55,898 cases, nothing learned |
| `yoochoose_week` | train and valid learned, test scored and learned click by click, no first clicks |
| `serenade` | train learned once, then every click of a valid session but its first |
| `rees46` | three hours of a shop, scored and learned click by click, known shoppers |
| `isgd_movielens` | click by click, known users, lists and cases of films they did not rate yet |

`python -m benchmarks.quality [DATA ...]`; the data is looked for in ../shared/data or
`PENSTOCK_SHARED_DATA`. All is seeded: a figure that changed means that the code did.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.commands.evaluate import main as evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DATA = Path(os.environ.get("PENSTOCK_SHARED_DATA", Path(__file__).parents[2] / "shared/data"))

Figures = tuple[float | None, float | None]
"""HR@20, MRR@20; None where it is not published."""


class Measured(NamedTuple):
    """A data set: how it is evaluated, what others reached, and what the blend is asked to reach."""

    argv: Callable[[Path], list[str]]
    """The command's arguments; files that have to be made first go into the folder given."""
    published: Mapping[str, tuple[Figures, str]]
    """By name of a method: figures and source. Those of a reference calibrate the ruler."""
    asked: Figures


def yoochoose1_64(folder: Path) -> list[str]:
    """Sessions and cases are there as the command reads them."""
    data = DATA / "yoochoose1_64"
    cases = str(data / "test_cases.txt.gz")
    train = str(data / "train_seq.txt.gz")
    return [train, "--format", "sequences", "--protocol", "split", "--cases", cases]


def yoochoose_week(folder: Path) -> list[str]:
    """Two files are learned before the one that is scored."""
    data = DATA / "yoochoose_week"
    before = [f"--warm={data / name}.tsv.gz" for name in ("train", "valid")]
    return [str(data / "test.tsv.gz"), "--format", "yoochoose", "--known", *before]


def serenade(folder: Path) -> list[str]:
    """The cases are the prefixes of the valid sessions."""
    sessions = defaultdict(list)
    with gzip.open(DATA / "serenade/valid.tsv.gz", "rt") as file:
        rows = [line.split() for line in file][1:]
    for session, item, _ in sorted(rows, key=lambda row: float(row[2])):
        sessions[session].append(item)
    cases = folder / "cases.txt"
    cases.write_text(
        "".join(
            f"{' '.join(items[:at])}\t{items[at]}\n"
            for items in sessions.values()
            for at in range(1, len(items))
        )
    )
    train = str(DATA / "serenade/train.tsv.gz")
    return [train, "--format", "yoochoose", "--protocol", "split", "--cases", str(cases)]


def rees46(folder: Path) -> list[str]:
    """The shop's export as it is."""
    return [str(DATA / "rees46_2019-10-01.csv.gz"), "--format", "rees46", "--known"]


def isgd_movielens(folder: Path) -> list[str]:
    """The columns get the names of `interactions`."""
    films = folder / "films.csv"
    with gzip.open(DATA / "isgd_movielens.csv.gz", "rt") as source, films.open("w") as file:
        file.write("user_id,item_id,timestamp\n")
        for row in csv.DictReader(source):
            file.write(f"{row['UserID']},{row['ItemID']},{row['Timestamp']}\n")
    return [str(films), "--format", "interactions", "--unseen", "--known"]


UNCHECKED = "reported for this data, origin not checked"
WU = "Wu et al. 2019, Session-based Recommendation with Graph Neural Networks"
DATA_SETS: Mapping[str, Measured] = {
    "yoochoose1_64": Measured(
        yoochoose1_64,
        {
            "markov": ((0.647, 0.297), UNCHECKED),
            "sr": ((0.670, 0.301), UNCHECKED),
            "ar": ((0.661, 0.285), UNCHECKED),
            "VSKNN": ((0.696, 0.288), UNCHECKED),
            "NARM": ((0.700, 0.296), UNCHECKED),
            "SR-GNN": ((0.706, 0.309), WU),
        },
        (0.715, 0.308),
    ),
    "yoochoose_week": Measured(
        yoochoose_week,
        {"SR, not learning in the test": ((0.619, 0.348), UNCHECKED)},
        (0.64, 0.36),
    ),
    "serenade": Measured(
        serenade,
        {
            "VMIS-kNN": (
                (None, 0.320),
                "Kersbergen et al. 2022, github.com/bolcom/serenade, origin not checked",
            )
        },
        (None, 0.325),
    ),
    "rees46": Measured(rees46, {}, (None, None)),
    "isgd_movielens": Measured(
        isgd_movielens,
        {
            "ISGD": ((0.065, None), UNCHECKED),
            "popularity": ((0.135, None), UNCHECKED),
        },
        (0.140, None),
    ),
}


def measure(argv: list[str]) -> dict[str, dict[str, float]]:
    """Run the command, which prints its table, and give its report, the blend among the learners."""
    print(f"\npenstock evaluate {' '.join(argv).replace(str(DATA), 'DATA')}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report, started = Path(folder) / "report.json", time.perf_counter()
        if evaluate([*argv, "--report", str(report)]):
            sys.exit(2)
        figures: dict[str, Any] = json.loads(report.read_text())
    print(f"wall_s={time.perf_counter() - started:.1f}")
    return {**figures["learners"], "blend": figures["blend"]}


def table(name: str, got: Mapping[str, dict[str, float]], held: Measured) -> str:
    """Rows of the table in docs/lists.md."""
    lines = [f"| {name} | HR@20 | MRR@20 | |", "|---|---|---|---|"]
    for learner, figures in got.items():
        note = ""
        if learner in held.published:
            note = f"published {_pair(held.published[learner][0])}"
        if learner == "blend":
            note = f"asked {_pair(held.asked)}" if any(held.asked) else ""
        lines.append(f"| {learner} | {figures['hr@20']:.4f} | {figures['mrr@20']:.4f} | {note} |")
    for method, ((hr, mrr), source) in held.published.items():
        if method not in got:
            lines.append(f"| {method}, published | {_one(hr)} | {_one(mrr)} | {source} |")
    return "\n".join(lines)


def _pair(figures: Figures) -> str:
    return " / ".join(_one(one) for one in figures if one is not None)


def _one(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}"


def main() -> None:
    """Measure the data sets named, or all of them."""
    for name in sys.argv[1:] or DATA_SETS:
        held = DATA_SETS[name]
        with tempfile.TemporaryDirectory() as folder:
            print(table(name, measure(held.argv(Path(folder))), held), flush=True)


if __name__ == "__main__":
    main()
