"""The visit of `penstock demo --once`: whatever the shop does, it ends and says what came of it."""

from __future__ import annotations

import threading

from flows.commands.demo_visit import ShopVisit, visit_shop
from serving.shop.routes import ShopRoutes
from tests.kafka_broker import free_port
from tests.serving.storefront.servers import open_door


def test_a_shop_that_lists_nothing_ends_the_visit(redis_url: str) -> None:
    with open_door(
        redis_url, pages=lambda access: ShopRoutes(access, "", "http://127.0.0.1:1").handlers()
    ) as door:
        visit = visit_shop(door.url, "", threading.Event(), patience_s=0.1)
        assert visit == ShopVisit(
            0, is_followed=False, text="visit     waited for 0 s for anything in the shop's list"
        )
        stop = threading.Event()
        stop.set()
        assert visit_shop(door.url, "", stop).text == (
            "visit     waited until it was stopped for anything in the shop's list"
        )


def test_a_shop_that_refuses_or_is_away_is_named(redis_url: str) -> None:
    with open_door(redis_url) as door:
        refused = visit_shop(door.url, "", threading.Event())
    assert (refused.events, refused.is_followed) == (0, False)
    assert refused.text.startswith("visit     failed: GET /: 404 ")
    away = visit_shop(f"http://127.0.0.1:{free_port()}", "", threading.Event())
    assert away.text == "visit     failed: [Errno 111] Connection refused"
