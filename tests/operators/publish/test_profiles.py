"""A profile is put together once, from a typed row."""

from __future__ import annotations

from operators.publish.profiles import Profile, profile_write
from operators.segments.propensity.profile_fields import FIELDS, NO_STEP
from state import keys
from state.resp import pack_int, pack_str
from tests.streams import arguments

COUNTERS = "".join(
    [pack_str("HSET"), pack_str(keys.profile_key("ann")), pack_str("views"), pack_int(3)]
)


def fields_of(profile: Profile) -> dict[str, object]:
    command, key, *fields = arguments(profile_write(profile))
    assert (command, key) == ("HSET", keys.profile_key("ann"))
    return {str(name): value for name, value in zip(fields[::2], fields[1::2], strict=True)}


def test_a_profile_without_models_and_segments_is_its_counters() -> None:
    assert fields_of(Profile(COUNTERS, 4)) == {"views": "3"}


def test_a_profile_says_what_models_and_segments_say() -> None:
    profile = Profile(COUNTERS, 4, (120, NO_STEP, 0, 0), "cluster-2", 0.5, 545, "active")
    assert fields_of(profile) == {
        "views": "3",
        "p_buy_session": "0.5",
        "p_churn": "0.0000061",
        "value_30d": "0.00",
        "cluster": "cluster-2",
        "cluster_distance": "0.500",
        "rfm": "545",
        "stage": "active",
    }


def test_every_prediction_has_its_own_field() -> None:
    for index, field in enumerate(FIELDS):
        steps = [NO_STEP] * len(FIELDS)
        steps[index] = 1
        assert fields_of(Profile(COUNTERS, 4, steps)) == {"views": "3", field.field: field.value(1)}


def test_where_the_distance_is_not_known_a_profile_says_none() -> None:
    fields = fields_of(Profile(COUNTERS, 4, cluster="cluster-2", rfm=111))
    assert fields == {"views": "3", "cluster": "cluster-2", "rfm": "111"}
