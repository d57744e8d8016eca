"""Banners by segment: the first content of a slot whose segment the shopper is in, else the default.

The file is YAML, a list for each slot, checked at the start:

    hero:
    - {id: welcome-back, segment: rfm-loyal, payload: {image: /loyal.jpg}}
    - {id: summer, payload: {image: /summer.jpg}}
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from serving.http.errors import RequestError
from serving.storefront.answers import ContentAnswer
from state.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


class SlotContent(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One content; without a segment it is for everybody."""

    id: str
    payload: Any
    segment: str = ""


class ContentTable:
    """The contents of each slot, in the order of the file. Raises ConfigurationError."""

    def __init__(self, file: str) -> None:
        self._slots: dict[str, list[SlotContent]] = {}
        if not file:
            return
        try:
            text = Path(file).read_text(encoding="utf-8")
            read = yaml.safe_load(text) or {}
            self._slots = msgspec.convert(read, dict[str, list[SlotContent]])
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ConfigurationError(
                f"storefront.content_file {file} cannot be read: {reason}"
            ) from error
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"storefront.content_file {file}: {error}") from error
        for slot, contents in self._slots.items():
            hidden = [one.id for one in contents[:-1] if not one.segment]
            if hidden:
                raise ConfigurationError(
                    f"storefront.content_file {file}: {slot}: {hidden[0]} has no segment, so what "
                    "follows it is never shown: move it to the end"
                )

    def choose(self, slot: str, segments: Mapping[str, int]) -> ContentAnswer:
        """The content of a slot for a shopper in these segments. Raises RequestError 404."""
        if slot not in self._slots:
            known = ", ".join(self._slots) or "none: storefront.content_file is empty"
            raise RequestError(404, "$.slot", f"no such content slot: expected one of {known}")
        for content in self._slots[slot]:
            if not content.segment or content.segment in segments:
                return ContentAnswer(slot, content.id, content.payload, content.segment)
        raise RequestError(404, "$.slot", "no content for this shopper, and no default")
