"""`make chaos`: every scenario, one after the other, and a table of how it went.

`python -m tests.chaos [--only WORDS] [--seed N] [--write FILE]`: exit code 1 if one of them failed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from benchmarks.code import said
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.trial import Size
from tests.chaos.world import World

PAGE = """# What was broken, and what came of it

`make chaos` breaks a live run in each of these ways and compares what is in Redis afterwards with an
undisturbed run of the same records: profiles, sessions, aliases and counters have to be the same, byte
for byte, and memberships, change streams and counts must not contradict each other
(`tests/chaos/outcome.py`). A real Kafka broker, a real Redis with an append-only file, a synthetic shop
of {events:,} events, seed {seed}, {date}, {code}. Two of them run with the tests, small;
`make test-long` says whether the page is of the code beside it.

{table}"""


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--events", type=int, default=Size().events)
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the table")
    args = parser.parse_args()
    size, code = Size(events=args.events, seed=args.seed), said()  # as it is when the run begins
    rows = ["| what happens | same facts | seconds | |", "|---|---|---|---|"]
    failed = 0
    with World() as world:
        for name, run in SCENARIOS.items():
            if args.only not in name:
                continue
            world.begin()
            began_s = time.monotonic()
            try:
                verdict, note = "yes", run(world, size)
            except Exception as error:
                traceback.print_exc()
                verdict, note, failed = "**NO**", " ".join(str(error).split())[:200], failed + 1
            rows.append(f"| {name} | {verdict} | {time.monotonic() - began_s:.0f} | {note} |")
            print(rows[-1], flush=True)
    table = "\n".join(rows) + "\n"
    print(f"\n{table}")
    if args.write:
        today = time.strftime("%Y-%m-%d")
        page = PAGE.format(events=size.events, seed=size.seed, date=today, code=code, table=table)
        args.write.write_text(page)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
