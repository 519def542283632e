"""JSON bodies: strict dataclasses in, bytes out, and back."""

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from edge_sdk.errors import Corrupt, TooLarge
from edge_sdk.protocol.limits import MAX_JSON_BYTES
from edge_sdk.values import Finished, Task, Wait

Message = TypeVar("Message")

CHECK_IN_ANSWER: TypeAdapter[Task | Wait | Finished] = TypeAdapter(Task | Wait | Finished)
"""Reads the three answers to a check-in."""


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def dump_json(message: object, *, brief: bool = False) -> bytes:
    """UTF-8 JSON of one strict dataclass; `brief` leaves out fields that are at their default.

    Reading puts them back. For requests of devices: most of a report is what cannot be told.
    """
    return _adapter(type(message)).dump_json(message, exclude_defaults=brief)


def load_json(
    kind: type[Message] | TypeAdapter[Message], body: bytes, *, limit: int = MAX_JSON_BYTES
) -> Message:
    """Read one message of `kind` from a JSON body.

    Raises:
        TooLarge: over `limit` bytes.
        Corrupt: not JSON, or not such a message; the text names field and rule, never the value.
    """
    if len(body) > limit:
        raise TooLarge(f"JSON body of {len(body)} bytes, limit {limit}")
    adapter = kind if isinstance(kind, TypeAdapter) else _adapter(kind)
    try:
        message: Message = adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise Corrupt(f"{where}: {first['msg']}") from None
    return message
