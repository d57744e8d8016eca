"""The subcommands, and what each does in one line, in the order of the help.

Here, so that `penstock --help` imports none of them: some take a second.
"""

from __future__ import annotations

from typing import Final

SUMMARIES: Final = {
    "demo": "run a synthetic shop to click in, with a private Redis",
    "run": "read events from Kafka or Redis Streams and write results to Redis",
    "replay": "run a recorded file through the flow",
    "evaluate": "score the lists on a recorded file",
    "tune": "search better list settings on a recorded file",
    "experiments": "check and plan experiments, and say what they brought on a recorded file",
    "show": "print what a storefront would read about a shopper, with reasons",
    "segments": "inspect segments: list, show, members, diff, why, preview",
    "dashboard": "serve a web page with the current segments and shop figures",
    "serve": "serve lists over HTTP to a storefront, and take its events",
    "hooks": "send segment changes to webhooks",
    "redrive": "send dead letters to the events topic again",
    "erase": "erase shoppers with all their devices",
    "export-subject": "write everything that is stored about a shopper to a file",
    "check": "check configuration, Kafka, Redis, recovery folder and lease before a run",
    "warm": "compile the inner loops once, so that the first start is quick",
}
