"""How fast are good events decoded, and what do the rules cost beside a bare typed decode?

`python -m benchmarks.decode`: 200,000 seeded small events (one item each, about 130 bytes), best of
five passes of both in one process; every 1,000th record of a third pass is broken.
"""

from __future__ import annotations

import random
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

from operators.events.decode import decode_lines
from state.events import Event, Item

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = 200_000
START_MS = 1_700_000_000_000


def workload() -> list[bytes]:
    """Small item views as JSON lines."""
    random.seed(1)
    return [
        msgspec.json.encode(
            Event(
                event_id=f"{n:032x}",
                type="item_view",
                event_ts=START_MS + n,
                anonymous_id=f"v{random.randrange(50_000)}",
                items=(Item(f"i{random.randrange(20_000)}"),),
            )
        )
        for n in range(EVENTS)
    ]


def best_rate(run: Callable[[], object]) -> float:
    """Events per second of the fastest of five passes."""
    passes_s = []
    for _ in range(5):
        begin = perf_counter()
        run()
        passes_s.append(perf_counter() - begin)
    return EVENTS / min(passes_s)


def main() -> None:
    """Print both rates and their ratio."""
    lines = workload()
    damaged = [line[:-1] if n % 1000 == 0 else line for n, line in enumerate(lines)]
    bare_decode = msgspec.json.Decoder(Event).decode

    def bare() -> None:
        for line in lines:
            bare_decode(line)

    def ours(records: list[bytes]) -> None:
        for _ in decode_lines(
            records, source="s", partition="0", first_offset=0, now_ms=START_MS + EVENTS
        ):
            pass

    floor = best_rate(bare)
    rate = best_rate(lambda: ours(lines))
    rate_damaged = best_rate(lambda: ours(damaged))
    print(
        f"decode_per_s={rate:.0f} with_0.1%_bad_per_s={rate_damaged:.0f} "
        f"bare_msgspec_per_s={floor:.0f} ratio={rate / floor:.2f}"
    )


if __name__ == "__main__":
    main()
