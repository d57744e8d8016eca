"""When aggregates are published: each second of a live run, of a recording every so many events."""

from msgspec.structs import replace

from operators.personalize.state import PersonalizationState
from operators.publish.aggregates import Aggregates
from operators.publish.report_timer import RECORDED_EVENTS_MIN
from state.config import Settings


def aggregates(batch_events: int) -> tuple[Aggregates, dict[str, int]]:
    settings = Settings()
    source = replace(settings.source, batch_events=batch_events)
    state = PersonalizationState(replace(settings, source=source))
    state.definitions.are_published = True
    return state.aggregates, state.batches


def due(publisher: Aggregates, batches: dict[str, int], *, live: bool) -> list[bool]:
    """Whether they are due with each of nine batches, half a second of event time apart."""
    found = []
    for number in range(1, 10):
        batches["file"] = number
        found.append(publisher.take_due(500 * number, live=live, last=number == 9))
    return found


def test_a_live_run_publishes_each_second() -> None:
    assert due(*aggregates(batch_events=8192), live=True) == [
        *(False, True, False, True, False, True, False, True, True)
    ]


def test_a_recording_in_small_batches_publishes_every_so_many_events_and_at_its_end() -> None:
    quarter = RECORDED_EVENTS_MIN // 4
    assert due(*aggregates(batch_events=quarter), live=False) == [
        *(False, False, False, True, False, False, False, True, True)
    ]


def test_a_live_run_publishes_at_once_after_a_start() -> None:
    publisher, _ = aggregates(batch_events=8192)
    publisher._definitions.are_published = False
    assert publisher.take_due(1, live=True, last=False)
    assert not publisher.take_due(2, live=False, last=False)
