"""`penstock evaluate`: how good the lists are on a recorded file, beside plain references."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from threadpoolctl import threadpool_limits

from flows.evaluation_plot import plot, require_matplotlib
from flows.files import LogFile
from flows.options import add_settings, settings_of
from operators.evaluation.clicks import collect
from operators.evaluation.formats import FORMATS, cases
from operators.evaluation.from_events import from_events
from operators.evaluation.product import Product
from operators.evaluation.protocols import BLEND, Rules, prequential, split
from operators.evaluation.reference import REFERENCES, Reference
from operators.readers import READERS
from operators.recommend import Recommender
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from operators.evaluation.clicks import Click, Clicks, RawClick, Session
    from operators.evaluation.formats import RawCase
    from operators.evaluation.protocols import Outcome, Request, Rival
    from state.config import Settings
    from state.deadletters import DeadLetter

Parsed = TypeVar("Parsed", "RawClick", "RawCase")

K_MAX = 100
"""As many as a list of the key contract may hold."""

PROGRESS_CLICKS = 500
ONE_SESSION_A_SHOPPER = frozenset({"sequences", "yoochoose"})
"""Formats whose shopper ids are session ids: a pause does not split them."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score the lists on a recorded file",
        description="Score the lists that each learner and the blend would have shown.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the recorded file: plain, .gz, or - for standard input")
    add("--format", required=True, choices=[*READERS, *FORMATS], help="what FILE holds")
    add("--protocol", choices=["prequential", "split"], default="prequential")
    add("--cases", metavar="FILE", help="split: what to score, a case a line: PREFIX<TAB>TARGET")
    add(
        "--warm",
        metavar="FILE",
        action="append",
        default=[],
        help="prequential: learn this file first, unscored; may be given again",
    )
    add("--k", type=int, default=20, help="length of the lists (default 20)")
    add("--unseen", action="store_true", help="list only items the shopper has not had")
    add("--known", action="store_true", help="score known shoppers only, no first clicks")
    add(
        "--learners",
        metavar="A,B",
        default=",".join([*REFERENCES, BLEND]),
        help="which to score (default %(default)s); blend stands for all learners of the product",
    )
    add("--report", metavar="FILE", type=Path, help="write the figures as JSON")
    add("--plot", metavar="FILE.png", type=Path, help="draw the hit rate over time")
    add_settings(parser)
    parser.set_defaults(run=run)


def main(argv: Sequence[str]) -> int:
    """Run the subcommand alone, as `penstock evaluate ARGV` does."""
    parser = argparse.ArgumentParser(prog="penstock")
    add_parser(parser.add_subparsers(required=True))
    try:
        return run(parser.parse_args(["evaluate", *argv]))
    except UserError as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Read, score, print, write. Raises UserError."""
    _check(args)
    settings = settings_of(args)
    # Opened first: a wrong name is told before minutes of learning.
    with LogFile(args.cases) if args.cases else nullcontext() as case_file:
        clicks = collect(
            *(_clicks(path, args.format, settings) for path in (*args.warm, args.file))
        )
        with threadpool_limits(1):  # as the flow does: the matrices are small
            outcome = _outcome(args, settings, clicks, case_file)
    if not len(outcome):
        raise UserError(f"{args.file}: nothing to score: it holds no second click of a shopper")
    scores = outcome.scores(catalogue=len(clicks.items))
    if args.report:
        _write(args.report, _report(len(outcome), scores))
    if args.plot:
        has_times = args.protocol == "prequential" and args.format != "sequences"
        plot(
            outcome,
            args.plot,
            title=f"{args.protocol}, {Path(args.file).name}",
            has_times=has_times,
        )
    Console().print(_table(scores))
    Console().print(f"{len(outcome):,} cases, lists of {args.k} of {len(clicks.items):,} items")
    return 0


def _outcome(
    args: argparse.Namespace, settings: Settings, clicks: Clicks, case_file: LogFile | None
) -> Outcome:
    gap_ms = None if args.format in ONE_SESSION_A_SHOPPER else settings.sessions.gap_ms
    rules = Rules(k=args.k, unseen=args.unseen, known=args.known, session_gap_ms=gap_ms)
    rivals = _rivals(args, clicks, settings)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        rivals.append(_Watcher(bar, len(clicks)))
        if case_file is None:
            return prequential(clicks, rivals, rules)
        named_cases = _naming(case_file.name, cases(case_file.lines()))
        return split(clicks, named_cases, rivals, rules)


def _check(args: argparse.Namespace) -> None:
    """What argparse cannot say about options."""
    if not 1 <= args.k <= K_MAX:
        raise UserError(f"--k {args.k}: a list holds 1 to {K_MAX} items")
    if (args.protocol == "split") != bool(args.cases):
        raise UserError("--protocol split and --cases FILE need each other")
    if args.warm and args.protocol == "split":
        raise UserError("--warm is for --protocol prequential: split learns FILE itself")
    if args.warm and args.format == "sequences":
        raise UserError("--warm needs times, which `sequences` lacks: join the files instead")
    for path in (args.report, args.plot):
        if path and not path.parent.is_dir():
            raise UserError(f"cannot write {path}: make the directory {path.parent} first")
    if args.plot:
        require_matplotlib()
    unknown = set(_names(args.learners)) - {*REFERENCES, BLEND}
    if unknown or not _names(args.learners):
        known = ", ".join([*REFERENCES, BLEND])
        raise UserError(f"--learners {args.learners}: choose from {known}")


def _names(learners: str) -> list[str]:
    return [name for name in learners.split(",") if name]


def _rivals(args: argparse.Namespace, clicks: Clicks, settings: Settings) -> list[Rival]:
    names = _names(args.learners)
    rivals: list[Rival] = [
        Reference(name, clicks.scored_kind) for name in names if name in REFERENCES
    ]
    if BLEND in names:
        lists = msgspec.structs.replace(settings.lists, k=args.k, allow_repeats=not args.unseen)
        rivals.append(Product(Recommender.of(lists), clicks))
    return rivals


def _clicks(path: str, format_name: str, settings: Settings) -> Iterator[RawClick]:
    """The clicks of a file. What its reader sets aside is told on standard error."""
    set_aside, has_clicks = _SetAside(), False
    with LogFile(path) as file:
        if format_name in FORMATS:
            parsed = FORMATS[format_name](file.lines())
        else:
            now_ms = time.time_ns() // 1_000_000
            records = READERS[format_name](file.lines(), source=file.name, now_ms=now_ms)
            parsed = from_events(records, settings.lists.weights, set_aside.add)
        for click in _naming(file.name, parsed):
            has_clicks = True
            yield click
    if set_aside.records and not has_clicks:
        raise UserError(
            f"{file.name}: {set_aside.told()} and found no click in the rest: is --format right?"
        )
    if set_aside.records:
        print(f"penstock: {file.name}: {set_aside.told()}", file=sys.stderr)


@dataclass
class _SetAside:
    """What a reader rejected: how many records, and what was wrong with the first."""

    records: int = 0
    first: str = ""

    def add(self, letter: DeadLetter) -> None:
        if not self.records:
            self.first = f"{letter.failure_type}, {letter.errors[0].message}, line {letter.offset}"
        self.records += 1

    def told(self) -> str:
        return f"set aside {self.records:,} of its records ({self.first})"


def _naming(name: str, parsed: Iterator[Parsed]) -> Iterator[Parsed]:
    """Say which file a bad line is in."""
    try:
        yield from parsed
    except UserError as error:
        message = str(error)
        raise UserError(message if name in message else f"{name}: {message}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _report(cases: int, scores: dict[str, dict[str, float]]) -> bytes:
    """The report as design and documents promise it: the blend beside the learners."""
    learners = {name: metrics for name, metrics in scores.items() if name != BLEND}
    blend = {name: metrics for name, metrics in scores.items() if name == BLEND}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps({"n": cases, "learners": learners, **blend}, option=options)


def _table(scores: dict[str, dict[str, float]]) -> Table:
    """A row a learner, a column a metric."""
    metrics = next(iter(scores.values()))
    numbers = [Column(name.partition("@")[0], justify="right") for name in metrics]
    table = Table("learner", *numbers, box=SIMPLE_HEAD)
    for name, values in scores.items():
        table.add_row(name, *(f"{value:.4f}" for value in values.values()))
    return table


class _Watcher:
    """A rival that learns nothing and lists nothing: it shows how far the others are."""

    def __init__(self, bar: Progress, clicks: int) -> None:
        self._bar = bar
        self._task = bar.add_task("clicks", total=clicks)
        self._learned = 0

    def learn(self, click: Click, session: Session) -> None:
        self._learned += 1
        if self._learned % PROGRESS_CLICKS == 0:
            self._bar.update(self._task, completed=self._learned)

    def top(self, requests: Sequence[Request], k: int) -> list[dict[str, list[int]]]:
        return [{} for _ in requests]
