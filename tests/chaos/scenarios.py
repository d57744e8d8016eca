"""All scenarios of `make chaos`, in the order of docs/chaos.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos import odd_streams, process_faults, releases, server_faults

if TYPE_CHECKING:
    from tests.chaos.trial import Scenarios

SCENARIOS: Scenarios = {
    **process_faults.SCENARIOS,
    **server_faults.SCENARIOS,
    **odd_streams.SCENARIOS,
    **releases.SCENARIOS,
}
