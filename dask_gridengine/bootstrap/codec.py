"""Turn messages into frames and back: JSON, versioned, size-limited, never pickle."""

from __future__ import annotations

import json
import types
from dataclasses import fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from dask_gridengine.bootstrap.messages import Message, TLSIdentity
from dask_gridengine.errors import MessageError

VERSION = 3
MAX_FROM_NODE = 64 * 1024  # bytes; a hello has 1 kB, an exit report at most 17 kB
MAX_FROM_CLUSTER = 4 * 1024 * 1024  # bytes; an allocation has the user's config

_KINDS: dict[str, type[Message]] = {cls.kind: cls for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """Encode a message as one frame; MessageError if JSON cannot express a value."""
    body = {"v": VERSION, "kind": message.kind, **vars(message)}
    try:
        return json.dumps(body, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise MessageError(f"cannot encode {message.kind}: {exc}") from exc


def decode(frame: bytes, limit: int = MAX_FROM_NODE) -> Message:
    """Decode and validate a frame of at most `limit` bytes, or raise MessageError.

    Input is untrusted: each field must have the type that its dataclass states, other
    fields are refused, and nothing is unpickled.
    """
    if len(frame) > limit:
        raise MessageError(f"frame of {len(frame)} bytes; the limit is {limit}")
    try:
        body = json.loads(frame)
        if (version := body.pop("v")) != VERSION:
            raise MessageError(f"peer has version {version!r}, this side {VERSION}")
        message: Message = _build(_KINDS[body.pop("kind")], body)
        return message
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise MessageError(f"not a bootstrap message: {exc!r}"[:300]) from exc


def _plain(value: Any) -> Any:
    if isinstance(value, TLSIdentity):
        return vars(value)
    raise TypeError(f"JSON cannot express {value!r}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _build(cls: Any, body: dict[str, Any]) -> Any:
    for name, hint in _hints(cls).items():
        body[name] = _conform(body[name], hint, name)
    return cls(**body)


def _conform(value: Any, hint: Any, name: str) -> Any:
    """Return `value` if it has the type `hint`; an int may stand for a float."""
    if hint is Any:
        return value
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        (hint,) = (arg for arg in args if arg is not type(None))
        return _conform(value, hint, name)
    if origin is dict and type(value) is dict:
        return {str(k): _conform(v, args[1], name) for k, v in value.items()}
    if origin is list and type(value) is list:
        return [_conform(item, args[0], name) for item in value]
    if hint is TLSIdentity and type(value) is dict:
        return _build(TLSIdentity, value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise TypeError(f"{name} is {type(value).__name__}, not {hint}")
    return value
