"""Run the parts and print the table.

`python -m benchmarks.table` takes an hour and a half, ten minutes of it for freshness; `--quick` runs
the parts that need no broker and no million shoppers, `--rows cpu,floor` the parts that have these rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.cores import busy_s
from benchmarks.table import door_rows, live_rows, recorded_rows
from benchmarks.table.rows import HEADER, Options, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS: tuple[Part, ...] = (*recorded_rows.PARTS, *live_rows.PARTS, *door_rows.PARTS)


def chosen(rows: Sequence[str], *, quick: bool) -> list[Part]:
    """The parts with these rows, else all. Raises SystemExit for a row that no part has."""
    known = {row.name for part in PARTS for row in part.rows}
    if unknown := sorted(set(rows) - known):
        raise SystemExit(f"no such row: {', '.join(unknown)}; choose of {', '.join(sorted(known))}")
    return [
        part
        for part in PARTS
        if (not rows or any(row.name in rows for row in part.rows)) and (part.is_quick or not quick)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Options()
    parser.add_argument("--rows", default="", help="names of rows, with commas between")
    parser.add_argument("--quick", action="store_true", help="only the quick parts")
    parser.add_argument("--events", type=int, default=default.events)
    parser.add_argument("--rounds", type=int, default=default.rounds, help="pairs of runs")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="s of freshness")
    asked = parser.parse_args(arguments)
    options = Options(asked.events, asked.rounds, asked.seconds)
    names = [name for name in asked.rows.split(",") if name]
    lines, failed = [], False
    for part in chosen(names, quick=asked.quick):
        began_s, busy_before_s = time.perf_counter(), busy_s()
        try:
            values = part.measure(options)
        except (SystemExit, OSError, RuntimeError) as error:
            failed = True
            lines += [f"{row.name:<16} {row.figure:<62} failed: {error}" for row in part.rows]
            continue
        lines += [row.line(values[row.name]) for row in part.rows if row.name in values]
        passed_s = time.perf_counter() - began_s
        busy = (busy_s() - busy_before_s) / passed_s
        print(f"# {part.rows[0].name}: {passed_s:.0f} s, {busy:.1f} cores busy", flush=True)
    print("\n".join([HEADER, *lines]))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
