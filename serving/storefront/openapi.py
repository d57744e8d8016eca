"""The OpenAPI document, made of the types of requests and answers."""

from __future__ import annotations

from typing import Any

import msgspec

from serving.collector.forms import FORMS
from serving.collector.intake import CollectorAnswer
from serving.collector.routes import SEGMENT_CALLS
from serving.http.access import KEY_HEADER
from serving.http.errors import Problems
from serving.storefront.answers import (
    ContentAnswer,
    ListAnswer,
    PageAnswer,
    ShopperAnswer,
)
from serving.storefront.requests import PageRequest, SlotRequest
from state import keys
from state.events import Event

_TYPES = [
    PageRequest,
    SlotRequest,
    ListAnswer,
    PageAnswer,
    ShopperAnswer,
    ContentAnswer,
    CollectorAnswer,
    Problems,
]
_WHO = ("shopper", "visitor", "sig")
_LIST_FIELDS = ("item", "cart", "n", "category", "price_max", "exclude", "list", "offset")


def _copied(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is msgspec.NODEFAULT:
        return field.name, field.type
    return field.name, field.type, field.default


_OWN_FIELDS = ("received_ts", "left_out", "apart")
"""Fields of an event that the server or a reader sets."""
EVENT_TYPE = msgspec.defstruct(
    "SentEvent",
    [
        (field.name, dict[str, Any], {}) if field.name == "props" else _copied(field)
        for field in msgspec.structs.fields(Event)
        if field.name not in _OWN_FIELDS
    ],
    module=__name__,
)
"""An event as a sender writes it. A copy, since the default of `props` has no JSON Schema."""


def document() -> dict[str, Any]:
    """The whole document."""
    _, components = msgspec.json.schema_components(
        [*_TYPES, EVENT_TYPE], ref_template="#/components/schemas/{name}"
    )
    fields = {**components["PageRequest"]["properties"], **components["SlotRequest"]["properties"]}
    audience = {"name": "audience", "in": "query", "schema": {"enum": ["all"]}}
    who = [_parameter(name, fields) for name in _WHO]
    slot = {"name": "slot", "in": "path", "required": True, "schema": {"type": "string"}}
    of_list = [slot, *who, *(_parameter(name, fields) for name in _LIST_FIELDS), audience]
    body = {"required": True, "content": _content("PageRequest")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock storefront", "version": keys.CONTRACT_VERSION},
        "security": [{"key": []}, {"bearer": []}],
        "paths": {
            "/v1/lists/{slot}": {"get": _operation("One list", "ListAnswer", of_list)},
            "/v1/lists": {
                "post": _operation("The lists of one page", "PageAnswer", [])
                | {"requestBody": body}
            },
            "/v1/shopper": {"get": _operation("What a page may know", "ShopperAnswer", who)},
            "/v1/content/{slot}": {
                "get": _operation("Content by segment", "ContentAnswer", [slot, *who])
            },
            **_collector_paths(),
            "/v1/snippet.js": {"get": _text("The script of a page", "text/javascript")},
            "/openapi.json": {"get": _text("This document", "application/json")},
            "/healthz": {"get": _text("Whether the server is up")},
            "/readyz": {"get": _text("Whether Redis answers")},
            "/metrics": {"get": _text("Metrics for Prometheus")},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _collector_paths() -> dict[str, Any]:
    form = {"name": "format", "in": "query", "schema": {"enum": list(FORMS)}}
    event = {"$ref": f"#/components/schemas/{EVENT_TYPE.__name__}"}
    body = {
        "application/json": {"schema": {"anyOf": [event, {"type": "array", "items": event}]}},
        "application/x-ndjson": {"schema": event},
    }
    collect = _operation("Accept events", "CollectorAnswer", [form])
    collect |= {"requestBody": {"required": True, "content": body}}
    collect["responses"]["202"] = collect["responses"].pop("200")
    segment = _operation("Accept a call of Segment's HTTP API", "CollectorAnswer", [])
    segment |= {"requestBody": {"required": True, "content": {"application/json": {}}}}
    return {
        "/v1/events": {"post": collect},
        **{f"/v1/{call}": {"post": segment} for call in SEGMENT_CALLS},
    }


def _parameter(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "schema": fields[name]}
    if fields[name].get("type") == "array":
        parameter |= {"style": "form", "explode": False}
    return parameter


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _operation(summary: str, answer: str, parameters: list[Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": summary, "content": _content(answer)},
            "default": {"description": "What is wrong", "content": _content("Problems")},
        },
    }


def _text(summary: str, media_type: str = "text/plain") -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {media_type: {}}}},
    }
