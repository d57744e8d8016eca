"""How good are the lists, and can the ruler be trusted?

`penstock evaluate` on two public data sets, with what it is held against beside it:
1. the ruler: `yoochoose1_64` in the split protocol, reference learners against published figures;
2. the lists: `yoochoose_week`, train and valid learned, test scored click by click (10,152 cases,
   every click of a SessionId but its first, repeats allowed), against the least that will do.

`python -m benchmarks.quality`; the data is looked for in ../shared/data or `PENSTOCK_SHARED_DATA`.
All is seeded: a figure that changed means that the code did.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flows.commands.evaluate import main as evaluate

DATA = Path(os.environ.get("PENSTOCK_SHARED_DATA", Path(__file__).parents[2] / "shared/data"))

PUBLISHED = {"markov": (0.647, 0.297), "sr": (0.670, 0.301), "ar": (0.661, 0.285)}
ASKED = {"blend": (0.62, 0.35)}
"""HR@20, MRR@20."""


def measure(*argv: str) -> dict[str, Any]:
    """Run the command, which prints its table, and give its report, the blend among the learners."""
    print(f"\npenstock evaluate {' '.join(argv).replace(str(DATA), 'DATA')}")
    with tempfile.TemporaryDirectory() as folder:
        report, started = Path(folder) / "report.json", time.perf_counter()
        if evaluate([*argv, "--report", str(report)]):
            sys.exit(2)
        figures: dict[str, Any] = json.loads(report.read_text())
    print(f"wall_s={time.perf_counter() - started:.1f}")
    return {**figures["learners"], "blend": figures["blend"]}


def compare(got: dict[str, Any], held_against: dict[str, tuple[float, float]], word: str) -> None:
    """A line a learner: what was got, what it is held against, and the ratio."""
    for name, (hr, mrr) in held_against.items():
        got_hr, got_mrr = got[name]["hr@20"], got[name]["mrr@20"]
        print(
            f"{name}: hr@20={got_hr:.4f} {word}={hr} ratio={got_hr / hr:.3f}"
            f"  mrr@20={got_mrr:.4f} {word}={mrr} ratio={got_mrr / mrr:.3f}"
        )


def main() -> None:
    """Measure the ruler, then the lists."""
    literature = DATA / "yoochoose1_64"
    cases = str(literature / "test_cases.txt.gz")
    argv = ["--format", "sequences", "--protocol", "split", "--cases", cases]
    compare(measure(str(literature / "train_seq.txt.gz"), *argv), PUBLISHED, "published")

    week = DATA / "yoochoose_week"
    before = [f"--warm={week / name}.tsv.gz" for name in ("train", "valid")]
    got = measure(str(week / "test.tsv.gz"), "--format", "yoochoose", "--known", *before)
    compare(got, ASKED, "asked")


if __name__ == "__main__":
    main()
