"""The step `kpis` behind the real shards, against a recount of the raw log."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from operators.kpis.hour_sums import OTHER
from operators.kpis.step import KpiStep, kpi_events_of
from state.config import Kpis
from state.events import Campaign, Event, Item, Reco
from state.journal import Journals
from state.kpis import FIGURES
from tests.kpi_recount import recount
from tests.streams import LATENESS_MS, RULES, Flow, event, flow_settings, shuffled_within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from state.messages import Write
    from tests.kpi_recount import Recounted

COUNTED = replace(RULES, counts_kpis=True)
HOUR_MS = 3_600_000
ITEMS = [Item(f"item {n}", price=[9.99, 0.1, 120.0][n % 3]) for n in range(6)]


def shop_log(seed: int, persons: int = 12, steps: int = 16) -> list[Event]:
    """A log in the order of time: devices that sign in, lists, clicks, orders, refunds, erasures."""
    rng, log = random.Random(seed), list[Event]()
    for person in range(persons):
        device, user, signed_in = f"device {person}", f"user {person}", False
        at_ms, lists, orders = rng.randrange(HOUR_MS), list[Event](), list[str]()
        clicked = list[Item]()
        for step in range(steps):
            at_ms += rng.choice([1, 30_000, 900_000, HOUR_MS, 9 * HOUR_MS, 30 * HOUR_MS])
            name = f"{seed} {person} {step}"
            who = (device, user if signed_in else None)
            about: dict[str, Any] = {
                "device": rng.choice(["phone", None]),
                "country": rng.choice(["NL", "BE"]),
                "campaign": rng.choice([None, Campaign(name="spring")]),
            }
            kind = rng.choice(
                ["view", "view", "click", "click", "cart", "order", "order", "refund", "sign in"]
            )
            if kind == "view":
                items = tuple(rng.sample(ITEMS, 3))
                reco = Reco(rng.choice(["home", "cart"]), rng.choice(["blend", None]), list_id=name)
                if rng.random() < 0.5:
                    reco = msgspec.structs.replace(reco, experiment="e", variant=rng.choice("ab"))
                lists.append(event("reco_view", name, at_ms, *who, items=items, reco=reco, **about))
                log.append(lists[-1])
            elif kind == "click":
                seen = rng.choice(lists) if lists else None
                list_id = seen.event_id if seen else "unknown"
                items = (rng.choice(seen.items if seen and rng.random() < 0.8 else ITEMS),)
                reco = Reco("home", list_id=list_id)
                clicked += [one for one in items if one not in ITEMS[4:]]
                log.append(event("reco_click", name, at_ms, *who, items=items, reco=reco, **about))
            elif kind == "cart":
                log.append(event("cart_add", name, at_ms, *who, items=(ITEMS[0],), **about))
            elif kind == "order":
                items = (*clicked[-1:], rng.choice([ITEMS[4], ITEMS[5]]))
                about |= {"order_id": name, "value": round(rng.uniform(1, 200), 2)}
                log.append(event("purchase", name, at_ms, *who, items=items, **about))
                orders.append(name)
            elif kind == "refund":
                order_id = rng.choice(orders) if orders else "unknown"
                back = rng.choice([None, round(rng.uniform(1, 90), 2)])
                log.append(
                    event("refund", name, at_ms, *who, order_id=order_id, value=back, **about)
                )
            elif not signed_in:
                signed_in = True
                log.append(event("identify", name, at_ms, device, user))
        if not signed_in and rng.random() < 0.3:
            log.append(event("erase", f"{seed} {person} erase", at_ms + 1, device))
    return sorted(log, key=lambda one: one.event_ts)


def fed(
    log: Sequence[Event], kpis: Kpis, size: int, journals: Journals | None = None
) -> Iterator[tuple[KpiStep, list[Write]]]:
    """The step after each batch, with what it writes; with journals it is a resumed one each time."""
    settings = flow_settings(kpis=kpis)
    flow, step = Flow(rules=COUNTED), KpiStep(settings, None, journals)
    for start in range(0, len(log), size):
        flow.parts.clear()
        flow.feed(log[start : start + size], last=start + size >= len(log))
        outputs = step.process_batch([kpi_events_of(part) for part in flow.parts])
        yield step, [write for output in outputs for write in output.writes]
        if journals is not None:
            step = KpiStep(settings, step.snapshot(), journals)


def counted(step: KpiStep) -> Recounted:
    return {
        (scope, hour, figure): amount
        for scope, hours in step.hour_sums.sums.items()
        for hour, sums in hours.items()
        for figure, amount in zip(FIGURES, sums, strict=True)
        if amount
    }


@pytest.mark.parametrize("credit", ["last", "first", "even", "position"])
@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_a_recount_of_the_log(credit: str, seed: int) -> None:
    """To the millionth; with events out of order and duplicated, sign-ins, refunds and erasures."""
    windows = [(24, 7, 24), (1, 1, 1), (48, 1, 48), (24, 7, 1)][seed]
    named = {
        **dict(zip(("click_window_h", "direct_days", "assisted_h"), windows, strict=True)),
        "credit": credit,
        "correct_days": 60,
    }
    kpis = msgspec.convert(named, Kpis)
    log = shop_log(seed)
    arrived = shuffled_within([*log, *log[::5]], LATENESS_MS, seed)
    *_, (step, _) = fed(arrived, kpis, size=7)
    found = counted(step)
    assert found == recount(log, kpis)
    # The log has something of each.
    assert {figure for _, _, figure in found} >= {"clicked", "direct_revenue", "assisted_revenue"}


def test_batches_and_resumes_do_not_show(tmp_path: Path) -> None:
    log, kpis = shop_log(9), Kpis(correct_days=60)
    *_, (whole, _) = fed(log, kpis, size=len(log))
    *_, (resumed, _) = fed(log, kpis, size=5, journals=Journals(tmp_path, ratio=1.0))
    assert counted(resumed) == counted(whole) == recount(log, kpis)
    assert resumed.hour_sums.facts == whole.hour_sums.facts


def test_redis_holds_what_is_counted_also_after_a_rebuild() -> None:
    log, kpis = shop_log(5), Kpis(correct_days=60)
    held: dict[object, object] = {}
    for last_step, writes in fed(log, kpis, size=9):
        _apply(writes, held)
        step = last_step
    rebuilt: dict[object, object] = {}
    for writes in step.writes():
        _apply(writes, rebuilt)
    assert {key for key in held if "history" in str(key)} == {
        key for key in rebuilt if "history" in str(key)
    }
    assert {key: held[key] for key in rebuilt} == rebuilt


def _apply(writes: Sequence[Write], held: dict[object, object]) -> None:
    for write in writes:
        assert write[0] == "HSET"
        for name, value in zip(write[2::2], write[3::2], strict=True):
            held[write[1], name] = value


def test_scopes_over_the_limit_count_as_other() -> None:
    log, kpis = shop_log(3), Kpis(correct_days=60, scopes_max=2)
    *_, (step, _) = fed(log, kpis, size=10)
    assert len(step.hour_sums.sums) <= 3
    assert OTHER in step.hour_sums.sums
    expected = {key: n for key, n in recount(log, kpis).items() if key[0] == "all"}
    assert {key: n for key, n in counted(step).items() if key[0] == "all"} == expected


def test_a_change_that_comes_too_late_is_booked_on_the_current_hour() -> None:
    order = event("purchase", "o", 0, "ann", order_id="o", value=50.0)
    later = event("page_view", "p", 40 * 24 * HOUR_MS, "bob")
    refund = event("refund", "r", 40 * 24 * HOUR_MS + 1, "ann", order_id="o", value=20.0)
    *_, (step, _) = fed([order, later, refund], Kpis(), size=1)
    [(hour, sums)] = step.hour_sums.sums["all"].items()
    named = dict(zip(FIGURES, sums, strict=True))
    assert hour == refund.event_ts // HOUR_MS
    # The order is too long ago to be known: the refund counts in its own hour.
    assert (named["revenue"], named["orders"]) == (-20_000_000, 0)


def test_nothing_is_kept_of_who_was_erased(tmp_path: Path) -> None:
    log = [
        event("reco_view", "v", 0, "ann", items=(ITEMS[0],), reco=Reco("home", list_id="l")),
        event("page_view", "p", 1, "bob"),
        event("erase", "e", 2, "ann"),
    ]
    *_, (step, _) = fed(log, Kpis(), size=1, journals=Journals(tmp_path, ratio=1.0))
    step.snapshot()
    assert counted(step) == {}
    newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert b"ann" not in newest.read_bytes()
