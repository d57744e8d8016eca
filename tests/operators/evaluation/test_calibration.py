"""Published figures on public data are reproduced: so the other figures can be believed."""

from __future__ import annotations

import csv
import gzip

import pytest

from operators.evaluation.baselines import BaselineCompetitor
from operators.evaluation.clicks import RawClick, collect
from operators.evaluation.competitors import ProtocolOptions
from operators.evaluation.formats import cases, sequences
from operators.evaluation.held_out import split
from operators.evaluation.prequential import prequential
from state.interactions import VIEW
from tests.shared import shared_data

PUBLISHED = {"markov": (0.647, 0.297), "sr": (0.670, 0.301), "ar": (0.661, 0.285)}


@pytest.mark.slow
def test_yoochoose_1_64_as_session_rec() -> None:
    train, test = (shared_data(f"yoochoose1_64/{n}.txt.gz") for n in ("train_seq", "test_cases"))
    with gzip.open(train) as sessions, gzip.open(test) as lines:
        clicks = collect(sequences(sessions))
        rivals = [BaselineCompetitor(name, VIEW) for name in PUBLISHED]
        outcome = split(clicks, cases(lines), rivals, ProtocolOptions(session_gap_ms=None))
    assert (len(clicks), len(clicks.items), len(outcome)) == (486_026, 17_376, 55_898)
    scores = outcome.scores(catalogue=len(clicks.items))
    got = {name: (scores[name]["hr@20"], scores[name]["mrr@20"]) for name in PUBLISHED}
    assert {name: pytest.approx(figures, abs=0.002) for name, figures in PUBLISHED.items()} == got


def test_popular_films_not_yet_seen_as_stream_rec() -> None:
    with gzip.open(shared_data("isgd_movielens.csv.gz"), "rt") as file:
        rows = csv.DictReader(file)
        clicks = collect(
            RawClick(row["UserID"], row["ItemID"], int(row["Timestamp"]) * 1000) for row in rows
        )
    rules = ProtocolOptions(unseen=True, known=True)
    outcome = prequential(clicks, [BaselineCompetitor("popularity", VIEW)], rules)
    # Every row is a case but each user's first: no user has a film twice.
    assert len(outcome) == 50_742 - 1_427
    scores = outcome.scores(catalogue=len(clicks.items))
    assert scores["popularity"]["hr@20"] == pytest.approx(0.135, abs=0.001)
