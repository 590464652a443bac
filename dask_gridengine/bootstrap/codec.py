"""Messages to frames and back: JSON, versioned, size-limited, checked, never pickle."""

from __future__ import annotations

import json
import types
from dataclasses import fields
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from dask_gridengine.bootstrap.messages import (
    Allocation,
    ControlReply,
    ControlRequest,
    ExitReport,
    Hello,
    Message,
    NotNeeded,
    Rejected,
    TLSIdentity,
    Wait,
)
from dask_gridengine.errors import MessageError

VERSION = 2
MAX_FROM_NODE = 64 * 1024  # bytes; a hello is about 1 kB, a farewell at most 17 kB
MAX_FROM_CLUSTER = 4 * 1024 * 1024  # bytes; an allocation carries the user's config

_KINDS: dict[str, type[Message]] = {
    cls.kind: cls
    for cls in (
        Hello,
        Allocation,
        Wait,
        NotNeeded,
        Rejected,
        ExitReport,
        ControlRequest,
        ControlReply,
    )
}


def encode(message: Message) -> bytes:
    """One message as one frame.

    Raises
    ------
    WireError
        If it holds a value JSON has no form for.
    """
    body = {"v": VERSION, "kind": message.kind, **vars(message)}
    try:
        return json.dumps(body, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise MessageError(f"cannot send {message.kind}: {exc}") from exc


def decode(frame: bytes, limit: int = MAX_FROM_NODE) -> Message:
    """One frame as one checked message.

    Whoever reaches the port must not get to run code or to surprise its reader, so
    every field has the type its dataclass states, and there are no others.

    Raises
    ------
    WireError
        If the frame is longer than `limit` bytes or is not such a message.
    """
    if len(frame) > limit:
        raise MessageError(f"frame of {len(frame)} bytes; the limit is {limit}")
    try:
        body = json.loads(frame)
        if (version := body.pop("v")) != VERSION:
            raise MessageError(f"peer speaks version {version!r}, this side {VERSION}")
        message: Message = _build(_KINDS[body.pop("kind")], body)
        return message
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise MessageError(f"not a bootstrap message: {exc!r}"[:300]) from exc


def _plain(value: Any) -> Any:
    if isinstance(value, TLSIdentity):
        return vars(value)
    raise TypeError(f"{value!r} has no form in JSON")


@cache
def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _build(cls: Any, body: dict[str, Any]) -> Any:
    for name, hint in _hints(cls).items():
        body[name] = _conform(body[name], hint, name)
    return cls(**body)


def _conform(value: Any, hint: Any, name: str) -> Any:
    """`value` if it has the type `hint`; a float may be written as a whole number."""
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
