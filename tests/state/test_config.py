"""The configuration: every key has a reason, every bad value is an error of one line that names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from state import config_loader
from state.config import Settings
from state.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).parents[2] / "config.yaml"


def leaves(
    tree: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


KEYS = msgspec.json.decode(msgspec.json.encode(Settings()))
del KEYS["definitions"]  # which is no key, but what a file holds
LEAVES = dict(leaves(KEYS))


def load(text: str = "", *overrides: str, folder: Path, **environment: str) -> Settings:
    path = folder / "some.yaml"
    path.write_text(text)
    return config_loader.load(path, overrides=overrides, environment=environment)


def refusal(text: str = "", *overrides: str, folder: Path, **environment: str) -> str:
    """Why a configuration is refused, without the folder of the file."""
    with pytest.raises(ConfigurationError) as refused:
        load(text, *overrides, folder=folder, **environment)
    return str(refused.value).replace(f"{folder}/", "")


def test_the_shipped_file_has_the_defaults_of_the_code() -> None:
    assert yaml.safe_load(SHIPPED.read_text()) == KEYS
    loaded = config_loader.load(SHIPPED, environment={})
    assert msgspec.structs.replace(loaded, segment_rules_text="") == Settings()


def test_every_key_of_the_shipped_file_has_a_reason() -> None:
    text = SHIPPED.read_text()
    inside_reasoned = r"^  (\w+):\s+# .*\n((?:    \w+:.*\n)+)"
    for section in re.findall(inside_reasoned, text, re.MULTILINE):
        text = text.replace(section[1], "")
    keys = [line for line in text.splitlines() if re.match(r"^ +\w+:", line)]
    assert len(keys) > 20
    assert [line for line in keys if not re.search(r"# \S.{9,}", line)] == []


UNITS = {"ms": "ms ", "s": "s ", "days": "days ", "hours": "hours ", "bytes_max": "bytes "}


@pytest.mark.parametrize(("suffix", "unit"), UNITS.items())
def test_the_text_of_a_key_begins_with_its_unit(suffix: str, unit: str) -> None:
    keys = re.findall(rf"^ +\w+_{suffix}: .*?# (.*)$", SHIPPED.read_text(), re.MULTILINE)
    assert keys
    assert [text for text in keys if not text.startswith(unit)] == []


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(folder=tmp_path) == Settings()


def test_commands_that_store_shoppers_require_privacy_unknown(
    tmp_path: Path,
) -> None:
    allowed = "privacy: {unknown: {analytics: allow, personalization: allow, ads: allow}}"
    file = tmp_path / "some.yaml"
    partly = "privacy: {unknown: {analytics: deny, personalization: allow}}"
    for text, first in (("", "analytics"), ("privacy: {}", "analytics"), (partly, "ads")):
        file.write_text(text)
        with pytest.raises(ConfigurationError) as refused:
            config_loader.load(file, environment={}, require_consent_defaults=True)
        said = str(refused.value)
        assert said.startswith(
            f"{file}: privacy.unknown.{first} is missing, which says what visitors"
        )
        assert f"write {allowed}, or deny" in said
        assert "\n" not in said
    file.write_text(allowed)
    assert config_loader.load(file, environment={}, require_consent_defaults=True) == Settings()
    assert (
        config_loader.load(SHIPPED, environment={}, require_consent_defaults=True).privacy
        == Settings().privacy
    )
    file.write_text("")
    denied = "privacy.unknown={analytics: deny, personalization: allow, ads: deny}"
    stated = config_loader.load(
        file, overrides=(denied,), environment={}, require_consent_defaults=True
    )
    assert msgspec.to_builtins(stated.privacy.unknown) == {
        "analytics": "deny",
        "personalization": "allow",
        "ads": "deny",
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("unknown={sale: deny}", "Object contains unknown field `sale` - at `$.privacy.unknown`"),
        ("unknown={analytics: no}", "Expected `str`, got `bool` - at `$.privacy.unknown.analytics"),
        ("by_country={DE: {sale: deny}}", "Object contains unknown field `sale` - at `$.privacy"),
        ("by_country={NO: {ads: deny}}", "Expected `str`, got `bool` - at `key` in `$.privacy.by"),
    ],
)
def test_invalid_consent_settings_are_refused(override: str, said: str, tmp_path: Path) -> None:
    assert said in refusal("", f"privacy.{override}", folder=tmp_path)


def test_a_webhook_has_a_purpose(tmp_path: Path) -> None:
    crm = "hooks.endpoints.crm.url=https://crm.example/in"
    purpose = "hooks.endpoints.crm.purpose="
    assert "purpose is missing: write analytics, personalization or ads" in refusal(
        "", crm, folder=tmp_path
    )
    assert "purpose is 'sale', expected analytics, personalization or ads" in refusal(
        "", crm, f"{purpose}sale", folder=tmp_path
    )
    endpoint = load("", crm, f"{purpose}ads", folder=tmp_path).hooks.endpoints["crm"]
    assert (endpoint.url, endpoint.purpose) == ("https://crm.example/in", "ads")


def test_environment_wins_over_the_file_and_set_over_both(tmp_path: Path) -> None:
    text = "sessions: {gap_ms: 1, shards: 2}\nlists: {k: 3}"
    settings = load(
        text,
        "lists.k=30",
        folder=tmp_path,
        PENSTOCK_SESSIONS__GAP_MS="900000",
        PENSTOCK_LISTS__K="10",
        PENSTOCK_LISTS__WEIGHTS__PURCHASE="7.5",
    )
    assert (settings.sessions.gap_ms, settings.sessions.shards) == (900_000, 2)
    assert (settings.lists.k, settings.lists.weights.purchase) == (30, 7.5)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_key_can_be_set_and_is_typed(path: tuple[str, ...], tmp_path: Path) -> None:
    key, default = ".".join(path), LEAVES[path]
    variable = "PENSTOCK_" + "__".join(path).upper()
    assert load("", f"{key}={yaml.safe_dump(default)}", folder=tmp_path) == Settings()
    assert load("", folder=tmp_path, **{variable: str(default)}) == Settings()
    said = refusal("", f"{key}={{a: 1}}", folder=tmp_path)
    assert said.startswith(f"some.yaml, --set {key}={{a: 1}}: Expected `")
    assert f" - at `$.{key}" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lists: {many: 3}", "some.yaml: Object contains unknown field `many` - at `$.lists`"),
        ("list: {k: 3}", "some.yaml: Object contains unknown field `list`"),
        ("lists: {k: 0}", "some.yaml: Expected `int` >= 1 - at `$.lists.k`"),
        ("lists: {k: 101}", "some.yaml: Expected `int` <= 100 - at `$.lists.k`"),
        ("lists: {k: '20'}", "some.yaml: Expected `int`, got `str` - at `$.lists.k`"),
        ("lists: {k: }", "some.yaml: Expected `int`, got `null` - at `$.lists.k`"),
        ("clusters: {k: 1}", "some.yaml: Expected `int` >= 2 - at `$.clusters.k`"),
        ("clusters: {k: [4, 65]}", "some.yaml: Expected `int` <= 64 - at `$.clusters.k[1]`"),
        (
            "clusters: {k: [8, 4]}",
            "some.yaml: k must be a number, or [least, most] with least below most - at `$.clusters`",
        ),
        ("sessions: {gap_ms: -1}", "some.yaml: Expected `int` >= 1 - at `$.sessions.gap_ms`"),
        (
            "sessions: {gap_ms: 1.5}",
            "some.yaml: Expected `int`, got `float` - at `$.sessions.gap_ms`",
        ),
        ("lists: 3", "some.yaml: Expected `object`, got `int` - at `$.lists`"),
        ("- lists", "some.yaml: expected sections such as `redis:`, got a list"),
        ("lists: {k: [", "some.yaml: not YAML: "),
        ("lists: {k: \x01}", "some.yaml: not YAML: "),
    ],
)
def test_a_bad_file_is_refused_by_key(text: str, said: str, tmp_path: Path) -> None:
    refused = refusal(text, folder=tmp_path)
    assert refused.startswith(said)
    assert "\n" not in refused


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("lists.k", "--set lists.k: expected a.b=c, as in --set lists.k=30"),
        ("lists.k.deep=3", "--set lists.k.deep=3: `k` is a value, not a section"),
        ("lists.many=3", "some.yaml, --set lists.many=3: Object contains unknown field `many`"),
        ("lists.k=ten", "some.yaml, --set lists.k=ten: Expected `int`, got `str` - at `$.lists.k`"),
        ("lists.k=", "some.yaml, --set lists.k=: Expected `int`, got `str` - at `$.lists.k`"),
        ("=3", "some.yaml, --set =3: Object contains unknown field ``"),
    ],
)
def test_a_bad_override_is_refused_by_name(override: str, said: str, tmp_path: Path) -> None:
    assert refusal("lists: {k: 3}", override, folder=tmp_path).startswith(said)


def test_a_bad_variable_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(folder=tmp_path, PENSTOCK_LISTS__MANY="3") == (
        "some.yaml, PENSTOCK_LISTS__MANY: Object contains unknown field `many` - at `$.lists`"
    )


def test_other_environment_variables_are_ignored(tmp_path: Path) -> None:
    assert load(folder=tmp_path, PENSTOCK_REDIS_PASSWORD="secret", OTHER__K="1") == Settings()


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"nope\.yaml: No such file or directory: name a configur"
    ):
        config_loader.load(tmp_path / "nope.yaml", environment={})
    with pytest.raises(
        ConfigurationError, match="Is a directory: name a configuration with --config"
    ):
        config_loader.load(tmp_path, environment={})


def test_the_digest_covers_settings_that_change_results_only() -> None:
    there = config_loader.load(SHIPPED, environment={})
    here = config_loader.load(SHIPPED, overrides=("redis.url=redis://elsewhere",), environment={})
    longer = config_loader.load(SHIPPED, overrides=("lists.k=30",), environment={})
    assert here.sha256 == there.sha256 != longer.sha256


def test_segment_rules_are_read_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    assert load(folder=tmp_path).segment_rules_text == ""
    (tmp_path / "segments.yaml").write_text("buyers: {when: purchases >= 1}")
    ours = load(folder=tmp_path)
    assert ours.segment_rules_text == "buyers: {when: purchases >= 1}"
    (tmp_path / "other.yaml").write_text("buyers: {when: purchases >= 1}")
    assert load("segments: {file: other.yaml}", folder=tmp_path).sha256 == ours.sha256
    assert load(folder=tmp_path).sha256 != Settings().sha256
    assert refusal("segments: {file: nope.yaml}", folder=tmp_path) == (
        "nope.yaml: No such file or directory: write it, or leave segments.file out"
    )
    assert refusal("definitions: x", folder=tmp_path) == (
        "some.yaml: Object contains unknown field `definitions`"
    )
