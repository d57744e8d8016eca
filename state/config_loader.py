"""Reads the configuration: the file, then environment variables, then overrides of the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import yaml

from state.config import Segments, Settings
from state.config_deployment import PURPOSES
from state.errors import ConfigurationError

ENVIRONMENT_PREFIX = "PENSTOCK_"
_RULES_TEXT_FIELD = "definitions"
_UNKNOWN_CONSENT_ADVICE = (
    "is missing, which says what visitors who were not asked for consent count as: write "
    "privacy: {unknown: {analytics: allow, personalization: allow, ads: allow}}, or deny where "
    "only a yes counts"
)


class _TextTimeLoader(yaml.SafeLoader):
    """YAML whose timestamps stay text: the key decides how a time is read."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def default_path() -> Path:
    """Return `config.yaml` of the working directory, else the one of the installation."""
    local = Path("config.yaml")
    if local.exists():
        return local
    packaged = Path(__file__).parent / "config.yaml"
    return packaged if packaged.exists() else Path(__file__).parents[1] / "config.yaml"


def load(
    path: Path | None = None,
    *,
    overrides: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    require_consent_defaults: bool = False,
) -> Settings:
    """Read a configuration file, then the environment (`PENSTOCK_A__B`), then `a.b=c` overrides.

    Raises ConfigurationError that names the file, the key and what is wrong. Commands that store or
    export shoppers set `require_consent_defaults`: then a missing `privacy.unknown` is an error too.
    """
    config_path = path or default_path()
    tree, origins = _read(config_path), str(config_path)
    variables = os.environ if environment is None else environment
    for name, value in sorted(variables.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            key = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")
            _set_key(tree, key, value or "''", name)
            origins += f", {name}"
    for override in overrides:
        dotted, sign, value = override.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {override}: expected a.b=c, as in --set lists.k=30")
        _set_key(tree, dotted.split("."), value, f"--set {override}")
        origins += f", --set {override}"
    settings = _convert(tree, origins)
    if require_consent_defaults:
        _check_consent_defaults(tree, origins)
    return msgspec.structs.replace(
        settings, segment_rules_text=_read_segment_rules(settings, config_path)
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_bytes(), _TextTimeLoader) or {}  # noqa: S506  it is a SafeLoader
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror}: name a configuration with --config"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigurationError(
            f"{path}: expected sections such as `redis:`, got a {type(tree).__name__}"
        )
    return tree


def _set_key(tree: dict[str, Any], path: list[str], text: str, origin: str) -> None:
    node = tree
    for name in path[:-1]:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigurationError(f"{origin}: `{name}` is a value, not a section")
        node = child
    try:
        # An empty text stays an empty text: YAML would read it as null.
        node[path[-1]] = yaml.load(text, _TextTimeLoader) if text else ""  # noqa: S506
    except yaml.YAMLError:
        node[path[-1]] = text


def _convert(tree: dict[str, Any], origins: str) -> Settings:
    if _RULES_TEXT_FIELD in tree:
        raise ConfigurationError(f"{origins}: Object contains unknown field `{_RULES_TEXT_FIELD}`")
    try:
        return msgspec.convert(tree, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{origins}: {error}") from error


def _check_consent_defaults(tree: dict[str, Any], origins: str) -> None:
    stated = tree.get("privacy", {}).get("unknown", {}).keys()
    for purpose in PURPOSES:
        if purpose not in stated:
            raise ConfigurationError(
                f"{origins}: privacy.unknown.{purpose} {_UNKNOWN_CONSENT_ADVICE}"
            )


def _read_segment_rules(settings: Settings, config_path: Path) -> str:
    """Return the text of `segments.file`; "" if the default file does not exist."""
    path = config_path.parent / settings.segments.file
    try:
        return path.read_text()
    except FileNotFoundError as error:
        if settings.segments == Segments():
            return ""
        raise ConfigurationError(
            f"{path}: {error.strerror}: write it, or leave segments.file out"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as text: {error}") from error
