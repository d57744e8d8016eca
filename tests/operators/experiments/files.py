"""Experiments files for tests: one that is right, and the same with a part exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.experiments.parser import parse_experiments

if TYPE_CHECKING:
    from operators.experiments.definitions import Experiment

HOME = """\
home-diversity:
  question: Does more variety on the home page sell more?
  unit: visitor
  where: {slot: home}
  variants: {control: 50 %, varied: 50 %}
  decide: {metric: revenue, window: 7 d, least_effect: 2 %, alpha: 0.05, tuned_to: 20000, cut: 500,
           before: 60 d}
  guard: [conversion, clicks]
  start: 2024-12-01
"""
HOLDOUT = "holdout: {share: 5 %}\n"
START_MS = 1_733_011_200_000


def home(**exchanged: str) -> Experiment:
    """The experiment of `HOME` with some texts exchanged: `home(metric="metric: conversion")`."""
    text = HOME
    for was, now in exchanged.items():
        lines = [line for line in text.splitlines() if was in line]
        assert lines, was
        text = text.replace(lines[0], now)
    return parse_experiments(text, "experiments.yaml").experiments[0]
