"""The entry point of `python -m bytewax.run flows.personalize:flow`. No other module imports it.

The name is public: docs and scripts use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bytewax.dataflow import Dataflow


def __getattr__(name: str) -> Dataflow:
    """Build `flow` when Bytewax asks for it, not at import."""
    if name != "flow":
        raise AttributeError(name)
    from flows.commands.bytewax_run import build_for_bytewax_run

    return build_for_bytewax_run()
