"""Requests to a real endpoint: their format, their signature, and which changes they hold."""

from __future__ import annotations

import shutil
import time

import pytest

from state import keys
from state.changes import Change
from state.config_deployment import Endpoint
from state.segments import SegmentDefinition, definition_writes
from state.shopper import ADS, PERSONALIZATION
from tests.flows.webhooks.deliveries import pending_count
from tests.hooks_runs import (
    SECRET,
    EndpointServer,
    Shop,
    endpoint,
    openssl_signature,
    running_webhooks,
    settings,
    until,
)


def test_a_change_is_sent_in_the_format_of_segment(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    shop.store.send(
        definition_writes([SegmentDefinition("vip", "rule", "VIPs", "", "spent a lot")])
    )
    at_ms = 1_767_225_600_007
    ids = shop.write_changes(
        Change("enter", "ann", "vip", at_ms, known=True),
        Change("leave", "ann", "vip", at_ms + 1, known=True),
        Change("merge", "device-1", "ann", at_ms + 2),
        Change("erase", "device-2", "", at_ms + 3),
        Change("trigger", "ann", "price-drop", at_ms + 4, known=True, item="mug"),
    )
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(ids)
    entered, left, merged, erased, dropped = [
        next(one.json for one in receiver.accepted if one.id == wanted) for wanted in ids
    ]
    library = {"name": "penstock", "version": keys.WRITER_VERSION}
    personas = {
        "computation_class": "audience",
        "computation_id": "vip",
        "computation_key": "vip",
    }
    assert entered == {
        "type": "track",
        "event": "Audience Entered",
        "userId": "ann",
        "messageId": ids[0],
        "timestamp": "2026-01-01T00:00:00.007Z",
        "context": {"library": library, "personas": personas},
        "properties": {
            "audience_key": "vip",
            "audience_name": "VIPs",
            "version": 1,
            "vip": True,
        },
    }
    assert left == entered | {
        "event": "Audience Exited",
        "messageId": ids[1],
        "timestamp": "2026-01-01T00:00:00.008Z",
        "properties": entered["properties"] | {"vip": False},
    }
    assert merged == {
        "type": "alias",
        "previousId": "device-1",
        "userId": "ann",
        "messageId": ids[2],
        "timestamp": "2026-01-01T00:00:00.009Z",
        "context": {"library": library},
    }
    assert (erased["event"], erased["anonymousId"]) == ("Shopper Erased", "device-2")
    assert (dropped["event"], dropped["userId"]) == ("Price Dropped", "ann")
    assert dropped["properties"] == {"trigger": "price-drop", "product_id": "mug"}
    assert pending_count(shop) == 0


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_the_signature_equals_that_of_openssl(
    receiver: EndpointServer, shop: Shop, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    monkeypatch.setenv("PENSTOCK_HOOKS_A_SECRET", f"{SECRET} {newer}")
    ids = shop.write_moves(3)
    began_s = int(time.time())
    with running_webhooks(settings(receiver), redis_url):
        receiver.wait_until_accepted(ids)
    for one in receiver.accepted:
        signatures = [openssl_signature(one, SECRET), openssl_signature(one, newer)]
        assert one.headers["webhook-signature"].split(" ") == signatures
        assert began_s <= int(one.headers["webhook-timestamp"]) <= time.time()
        assert one.json["messageId"] == one.id
        assert one.headers["content-type"] == "application/json"


def test_only_configured_segments_are_delivered(
    receiver: EndpointServer, shop: Shop, redis_url: str
) -> None:
    ids = shop.write_changes(
        *(Change("enter", "ann", sid, 7) for sid in ("vip", "rfm-lost", "rfm-new", "cluster-1")),
        Change("stage", "ann", "lifecycle-new", 8),
    )
    wanted = {"a": Endpoint(url=receiver.url, purpose="ads", segments=("vip", "rfm-*"))}
    with running_webhooks(settings(endpoints=wanted), redis_url):
        receiver.wait_until_accepted(ids[:3])
        until(lambda: pending_count(shop) == 0)
    assert sorted(one.id for one in receiver.accepted) == sorted(ids[:3])


def test_a_shopper_who_refuses_the_purpose_is_not_sent_to_the_endpoint(
    shop: Shop, redis_url: str
) -> None:
    with endpoint() as ads, endpoint() as figures:
        endpoints = {
            "ads": Endpoint(url=ads.url, purpose="ads"),
            "figures": Endpoint(url=figures.url, purpose="analytics"),
        }
        ids = shop.write_changes(
            Change("enter", "ann", "vip", 1, known=True),
            Change("enter", "bob", "vip", 2, known=True, refused=ADS),
            Change("refuse", "ann", "ads", 3, known=True),
            Change("leave", "ann", "vip", 4, known=True, refused=ADS),
            Change("erase", "bob", "", 5, known=True, refused=ADS),
            Change("enter", "eve", "vip", 6, known=True, refused=PERSONALIZATION),
        )
        with running_webhooks(settings(endpoints=endpoints), redis_url):
            ads.wait_until_accepted([ids[0], ids[2], ids[5]])
            figures.wait_until_accepted([ids[0], ids[1], ids[3], ids[4], ids[5]])
            time.sleep(0.2)
        assert len(ads.accepted) == 3
        assert len(figures.accepted) == 5
        (withdrawn,) = [one.json for one in ads.accepted if one.id == ids[2]]
        assert (withdrawn["event"], withdrawn["userId"], withdrawn["properties"]) == (
            "Consent Withdrawn",
            "ann",
            {"purpose": "ads"},
        )
