"""Has segment rules see what the fold of plain events counts, as they see events of the slow path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.events.processing_errors import FATAL_ERRORS
from operators.kernels import shopper_columns as c
from operators.segments.rules.folded_operations import CountedEvents
from state.shopper import Shopper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.kernels.shopper_columns import Cells, Outputs
    from operators.segments.rules.engine import RuleEngine
    from operators.segments.rules.folded_operations import FoldedOperations
    from operators.shards.shopper_table import ShopperTable
    from state.events import Event


class RuleFold:
    """The rules of one shard."""

    def __init__(self, engine: RuleEngine, table: ShopperTable, lateness_ms: int) -> None:
        self._engine = engine
        self._table = table
        self._lateness_ms = lateness_ms

    @property
    def columns(self) -> Cells:
        """The columns of shoppers that the fold writes with each event."""
        return self._engine.fold_columns

    def additions_of(self, events: Sequence[Event]) -> list[Sequence[int]]:
        """The windows that each event goes into."""
        return self._engine.rules.additions_of(events)

    def load_all(self, names: Sequence[str]) -> list[str]:
        """Have the rules of shoppers at hand before their events count: their timers see what was
        before. Returns those whose rules are, in their order; with the others something raised."""
        failed, new = set[str](), list[str]()
        for name in names:
            try:
                if not self._engine.is_loaded(name):
                    shopper = self._table.get(name)
                    if shopper is None:
                        new.append(name)
                    else:
                        self._engine.load(name, shopper)
            except FATAL_ERRORS:
                raise
            except Exception:
                failed.add(name)
        failed.update(set(new).difference(self._begin(new)))
        return [name for name in names if name not in failed]

    def _begin(self, names: list[str]) -> list[str]:
        """Begin the rules of new shoppers, by halves where it raises; those whose rules have begun."""
        if not names:
            return []
        try:
            self._engine.begin(names)
        except FATAL_ERRORS:
            raise
        except Exception:
            middle = len(names) // 2
            return self._begin(names[:middle]) + self._begin(names[middle:]) if middle else []
        return names

    def operations_of(
        self,
        events: Sequence[Event],
        names: Sequence[str],
        additions: Sequence[Sequence[int]],
        cells: Cells,
        outputs: Outputs,
    ) -> FoldedOperations | None:
        """What rules are told of the events that count, when these are put out."""
        results, after = outputs[0], outputs[-2]
        numbers: Sequence[int] = range(len(events))
        is_counted = results[:, c.OUTCOME] == c.COUNTED
        if not is_counted.any():
            return None
        if not is_counted.all():
            numbers = np.flatnonzero(is_counted).tolist()
            events = [events[number] for number in numbers]
            names = [names[number] for number in numbers]
            additions = [additions[number] for number in numbers]
            cells, results, after = cells[is_counted], results[is_counted], after[is_counted]
        reached_ms = cells[:, c.REACHED_MS]
        counted = CountedEvents(
            events,
            names,
            additions,
            cells,
            np.where(reached_ms == 0, 0, reached_ms + self._lateness_ms),
            results[:, c.BEGINS_SESSION],
            after,
            self._table.texts.text_of,
            self._rare_of(names) if self._engine.asks_truths else {},
        )
        return self._engine.operations_of(counted, numbers)

    def _rare_of(self, names: Sequence[str]) -> Mapping[str, Shopper]:
        """Of shoppers what truths are made of and is in no column, of those who have it."""
        table, found = self._table, dict[str, Shopper]()
        for name in dict.fromkeys(names) if table.rare else ():
            rare = table.rare.get(table.row_of[name])
            if rare is not None and (rare.consent[0] or rare.unconverted_micros):
                found[name] = Shopper(False, 0, 0)
                rare.write_to(found[name])
        return found
