"""Records that link two ids of a shopper: which is the device, which the user, and their one profile."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from state import keys
from state.events import Event
from tests.operators.readers.records import AT, minute_times, read, track_call
from tests.shared import shared_case
from tests.streams import run_flow

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("previous", "merges", "aliases"),
    [("v", 1, {"v": "ann"}), ("anonymous", 0, {}), ("00000000-0000", 0, {}), (None, 0, {})],
)
def test_an_alias_merges_an_anonymous_shopper_but_not_a_blocked_id(
    previous: str | None, merges: int, aliases: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    alias = {
        "type": "alias",
        "messageId": "2",
        "previousId": previous,
        "userId": "ann",
        **minute_times(1),
    }
    looked = track_call("Product Viewed", {"product_id": "mug"}, anonymousId="v", **minute_times(0))
    records = [*read("segment", looked), *read("segment", alias)]
    rows = run_flow(records, redis_url, tmp_path)
    assert json.loads(dict(rows[keys.meta_key()])[b"merges"]) == merges
    found = {key: value.decode() for key, value in rows.items() if key.startswith("ps:1:alias:")}
    assert found == {keys.alias_key(device): user for device, user in aliases.items()}
    views = dict(rows[keys.profile_key("ann")])[b"views"]
    assert views == str(merges).encode()


GENERATED_ID = "0190c2a1-7f00-7000-8000-00000000aa01"


@pytest.mark.parametrize(
    ("properties", "device", "user"),
    [
        ({"distinct_id": "d-1", "alias": "ann", "$device_id": "d-1"}, "d-1", "ann"),
        ({"distinct_id": "ann", "alias": "d-1", "$device_id": "d-1"}, "d-1", "ann"),
        ({"distinct_id": "d-1", "alias": "ann", "$is_identified": False}, "d-1", "ann"),
        ({"distinct_id": "d-1", "alias": "ann", "$process_person_profile": False}, "d-1", "ann"),
        ({"distinct_id": GENERATED_ID, "alias": "ann"}, GENERATED_ID, "ann"),
        ({"distinct_id": "ann", "alias": GENERATED_ID}, GENERATED_ID, "ann"),
        (
            {"distinct_id": GENERATED_ID, "alias": "old", "$is_identified": True},
            "old",
            GENERATED_ID,
        ),
        ({"distinct_id": "ann", "alias": "d-1", "$device_id": "d-7"}, "d-1", "ann"),
        ({"distinct_id": "ann", "alias": "d-1"}, "d-1", "ann"),
    ],
)
@pytest.mark.parametrize("name", ["$create_alias", "$merge_dangerously"])
def test_a_posthog_alias_links_the_device_to_the_user_whichever_id_comes_first(
    name: str, properties: dict[str, Any], device: str, user: str
) -> None:
    capture = {
        "uuid": "1",
        "event": name,
        "timestamp": "2026-03-01T10:00:00Z",
        "properties": properties,
    }
    (found,) = read("segment", {**capture, "distinct_id": properties["distinct_id"]})
    (inner,) = read("segment", capture)
    assert isinstance(found, Event)
    assert isinstance(inner, Event)
    assert (found.type, found.anonymous_id, found.user_id) == ("identify", device, user)
    assert (inner.anonymous_id, inner.user_id) == (device, user)


@pytest.mark.parametrize(
    ("properties", "anonymous_id"),
    [
        ({"previousId": "old", "anonymousId": "v"}, "old"),
        ({"anonymousId": "v"}, "v"),
        ({"previousId": "null", "anonymousId": "v"}, "v"),
    ],
)
def test_an_alias_links_the_previous_id_or_else_the_device(
    properties: dict[str, Any], anonymous_id: str
) -> None:
    (found,) = read(
        "segment", {"type": "alias", "messageId": "1", "userId": "ann", **properties, **AT}
    )
    assert isinstance(found, Event)
    assert (found.anonymous_id, found.user_id) == (anonymous_id, "ann")


@pytest.mark.parametrize(
    ("case", "shopper", "figures"),
    [
        ("same-id-anonymous-and-user", "abc-1", ("3", "0", "1", "12.00")),
        ("backend-sends-cookie-id", "ann", ("2", "0", "1", "12.00")),
        ("posthog-alias-direction", "some_user", ("1", "1", "1", "12.00")),
    ],
)
def test_an_id_that_is_both_anonymous_and_user_is_one_person(
    case: str, shopper: str, figures: tuple[str, ...], redis_url: str, tmp_path: Path
) -> None:
    lines = shared_case(case).read_bytes().splitlines()
    records = [record for line in lines for record in read("segment", line)]
    rows = run_flow(records, redis_url, tmp_path)
    profiles = {key: dict(row) for key, row in rows.items() if key.endswith("}:profile")}
    profile = profiles.pop(keys.profile_key(shopper))
    fields = ("views", "carts", "purchases", "revenue")
    assert tuple(profile[name.encode()].decode() for name in fields) == figures
    others = {"other"} if case == "same-id-anonymous-and-user" else set()
    assert profiles.keys() == {keys.profile_key(name) for name in others}
