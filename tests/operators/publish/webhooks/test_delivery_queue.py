"""The delivery queue: one shopper's items in order, one at a time; other shoppers do not wait."""

from __future__ import annotations

from operators.publish.webhooks.delivery_queue import Backoff, OrderedDeliveryQueue


def queue_of(*items: tuple[str, int]) -> OrderedDeliveryQueue[int]:
    queue: OrderedDeliveryQueue[int] = OrderedDeliveryQueue()
    for shopper, item in items:
        queue.add(shopper, item, 0.0)
    return queue


def test_the_next_item_of_a_shopper_comes_after_the_one_before_was_acknowledged() -> None:
    queue = queue_of(("ann", 1), ("ann", 2), ("bob", 3))
    assert [queue.take_due(0.0) for _ in range(3)] == [("ann", 1), ("bob", 3), None]
    queue.acknowledge("ann", 1.0)
    assert (queue.take_due(0.5), queue.take_due(1.0)) == (None, ("ann", 2))
    queue.acknowledge("ann", 2.0)
    queue.acknowledge("bob", 2.0)
    assert (len(queue), queue.take_due(9.0), queue.seconds_until_due(9.0)) == (0, None, None)


def test_a_retried_item_comes_again_before_the_shoppers_other_items() -> None:
    queue = queue_of(("ann", 1), ("ann", 2), ("bob", 3))
    queue.take_due(0.0)
    queue.retry("ann", 5.0)
    assert queue.take_due(1.0) == ("bob", 3)
    assert (queue.take_due(4.9), queue.seconds_until_due(4.0)) == (None, 1.0)
    assert (queue.take_due(5.0), len(queue)) == (("ann", 1), 3)


def test_a_pause_holds_everything_back() -> None:
    queue = queue_of(("ann", 1))
    queue.pause(7.0)
    queue.pause(3.0)
    assert (queue.take_due(6.9), queue.seconds_until_due(2.0)) == (None, 5.0)
    assert queue.take_due(7.0) == ("ann", 1)


def test_pauses_double_up_to_a_maximum_and_half_of_each_is_random() -> None:
    longest, shortest = Backoff(1.0, 60.0, lambda: 1.0), Backoff(1.0, 60.0, lambda: 0.0)
    assert [longest.pause_s(tries) for tries in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]
    assert [shortest.pause_s(tries) for tries in (1, 2, 3, 7)] == [0.5, 1, 2, 30]
    assert [longest.pause_s(1, requested_s=s) for s in (0.5, 9.0, 3600.0)] == [1, 9, 60]
