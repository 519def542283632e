"""The API described in OpenAPI 3.1, drawn from the table of routes and the messages' own types."""

import dataclasses
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, cast

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from edge_sdk.protocol import JSON_TYPE
from edge_sdk.values import Refusal
from server_ref.api.exchange import Exchange

Call = Callable[[Exchange], Awaitable[web.StreamResponse]]
Json = dict[str, object]

REF = "#/components/schemas/{model}"
PATTERNS = {
    "run": "^[0-9a-f]{16}$",
    "round": "^[0-9]{1,10}$",
    "version": "^[0-9]{1,10}$",
    "digest": "^[0-9a-f]{64}$",
    "token": "^[0-9a-f]{12}$",
    "device": "^[^/]{1,200}$",
    "file": "^[a-z.-]{1,64}$",
    "have": "^[0-9]{1,10}$",
    "averaged": "^(true|false)$",
}
"""Of parameters in path and query."""

SECURITY: dict[str, list[Json]] = {
    "anyone": [],
    "device": [{"device": []}],
    "operator": [{"operator": []}],
    "either": [{"device": []}, {"operator": []}],
}


@dataclasses.dataclass(frozen=True, slots=True)
class Bytes:
    """A body that is no JSON."""

    media_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """One call of the API."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    call: Call
    who: Literal["anyone", "device", "operator", "either"]
    """Whose token it takes."""
    answer: object
    """Type of the answer's message, or `Bytes`."""
    body: object = None
    """Type of the request's message, or `Bytes`; None without a body."""
    query: tuple[str, ...] = ()


async def publish(exchange: Exchange) -> web.StreamResponse:
    """`GET /openapi.json`: this document."""
    return web.Response(body=exchange.document, content_type=JSON_TYPE)


def document(routes: Iterable[Route]) -> Json:
    """The whole description."""
    table = list(routes)
    schemas, components = _schemas(table)
    paths: dict[str, Json] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    tokens: Json = {
        name: {"type": "http", "scheme": "bearer", "description": f"the {name}'s token"}
        for name in ("device", "operator")
    }
    made: Json = {
        "openapi": "3.1.0",
        "info": {"title": "edge-sdk aggregation server", "version": "1"},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": tokens},
    }
    return made


def _schemas(routes: list[Route]) -> tuple[dict[tuple[str, JsonSchemaMode], object], Json]:
    """Schema of every message by type and direction, and the components they refer to."""
    wanted: dict[tuple[str, JsonSchemaMode], TypeAdapter[object]] = {
        (repr(Refusal), "serialization"): TypeAdapter(Refusal)
    }
    for route in routes:
        if not isinstance(route.answer, Bytes):
            wanted[repr(route.answer), "serialization"] = TypeAdapter(
                cast("type[object]", route.answer)
            )
        if route.body is not None and not isinstance(route.body, Bytes):
            wanted[repr(route.body), "validation"] = TypeAdapter(cast("type[object]", route.body))
    inputs = [(name, mode, adapter) for (name, mode), adapter in wanted.items()]
    found, definitions = TypeAdapter.json_schemas(inputs, ref_template=REF)
    components: Json = dict(definitions.get("$defs", {}))
    return dict(found), components


def _operation(route: Route, schemas: dict[tuple[str, JsonSchemaMode], object]) -> Json:
    text = inspect.getdoc(route.call) or ""
    operation: Json = {
        "operationId": f"{route.method.lower()}_{_words(route.path)}",
        "summary": text.split("\n", 1)[0].partition(": ")[2] or text,
        "security": SECURITY[route.who],
        "parameters": [*_in_path(route.path), *(_parameter(n, "query") for n in route.query)],
        "responses": {
            "200": {
                "description": "done",
                "content": _content(route.answer, schemas, "serialization"),
            },
            "default": {
                "description": "a refusal: its reason is one of a fixed list",
                "content": _content(Refusal, schemas, "serialization"),
            },
        },
    }
    if isinstance(route.answer, Bytes):
        _add_cached(operation)
    if route.body is not None:
        content = _content(route.body, schemas, "validation")
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _add_cached(operation: Json) -> None:
    """Bytes that never change may be asked for in part, or not sent again."""
    responses = operation["responses"]
    if isinstance(responses, dict):
        responses["206"] = {"description": "the range asked for"}
        responses["304"] = {"description": "held already"}


def _content(
    kind: object, schemas: dict[tuple[str, JsonSchemaMode], object], mode: JsonSchemaMode
) -> Json:
    if isinstance(kind, Bytes):
        return {kind.media_type: {"schema": {}}}
    return {JSON_TYPE: {"schema": schemas[repr(kind), mode]}}


def _in_path(path: str) -> list[Json]:
    return [_parameter(name, "path") for name in re.findall(r"\{(\w+)\}", path)]


def _parameter(name: str, where: Literal["path", "query"]) -> Json:
    schema = {"type": "string", "pattern": PATTERNS[name]}
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _words(path: str) -> str:
    return "_".join(re.findall(r"\w+", path)) or "page"


def dump(made: Json) -> bytes:
    """The document as bytes, the same for the same table."""
    return json.dumps(made, indent=1, sort_keys=True).encode()
