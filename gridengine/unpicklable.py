"""Which part of an object cannot be pickled: the lock four levels down, by its way.

Pickle names the type it refuses and not where it found it. So we pickle the parts of
what failed, go on with the first part that fails, and end where none does.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import PurePath
from types import BuiltinMethodType, CodeType, FunctionType, MethodType
from typing import Any

import cloudpickle  # type: ignore[import-untyped,unused-ignore]

from gridengine.errors import NotPicklable, short_repr

#: Steps down to the part; what is deeper is not looked for.
MOST_STEPS = 40
#: Steps of a path that are printed; more lose their middle.
MOST_PRINTED = 12
#: Parts looked at of an object that makes them up as it is pickled; it might not end.
MOST_PARTS = 1_000_000
#: Characters of the reason.
MOST_REASON = 500

PROTOCOL = 5


def culprit(obj: object, what: str) -> NotPicklable:
    """Find the part of an object because of which cloudpickle has just refused it.

    Each step down costs about as much as pickling the object once. Nothing is kept of
    what is pickled, so memory is no concern.

    Parameters
    ----------
    obj
        What could not be pickled.
    what
        What to call it, e.g. ``"item 17 of the arguments"``.

    Returns
    -------
    NotPicklable
        To be raised by the caller. It names the object alone if no part is to blame.
    """
    path = [what.partition(" of ")[0]]
    reason = "it could not be pickled"
    try:
        if name := _name(obj):
            path = [name]
        reason = _descend(obj, path)
    except Exception as exc:  # noqa: BLE001 - objects run their own code when pickled
        reason = type(exc).__name__
    return NotPicklable(what, _printed(path), reason)


def _descend(obj: Any, path: list[str]) -> str:
    """Go down to the part to blame, adding each step to the path; what pickle says."""
    above: dict[int, Any] = {}  # by id; kept alive, so that no id is used again
    # It may pickle now, or for us: buffers that go beside the pickle have more rules.
    error = _error(obj, above) or sys.exc_info()[1]
    while error is not None:
        above[id(obj)] = obj
        parts = _parts(obj)
        found = _first_failing(parts.values, above)
        if found is None:
            return _words(error)
        if len(path) > MOST_STEPS:
            path.append("...")
            return _words(error)
        path.append(parts.name(found))
        obj = parts.values[found]
        error = _error(obj, above) or error
    return "it could not be pickled before, and can be now: does another thread use it?"


class _Nowhere:
    """A file that forgets what is written."""

    def write(self, data: object) -> None: ...


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
    """Pickles to nowhere, and passes over the objects above the one it begins with.

    Without that a part which refers to its owner would be blamed for all of it.
    """

    def __init__(self, above: Mapping[int, Any]) -> None:
        super().__init__(_Nowhere(), PROTOCOL)
        self._above = above

    def persistent_id(self, obj: object) -> int | None:
        return 0 if id(obj) in self._above else None


def _error(obj: object, above: Mapping[int, Any]) -> BaseException | None:
    try:
        _Pickler(above).dump(obj)
    except Exception as exc:  # noqa: BLE001 - it is what we are looking for
        return exc.with_traceback(None)  # its frames would refer to all of `above`
    return None


def _first_failing(values: list[Any], above: Mapping[int, Any]) -> int | None:
    """By halves: one by one would take a million picklers for a list of a million."""
    if _error(values, above) is None:
        return None
    low, high = 0, len(values)  # between them there is one that fails
    while high - low > 1:
        middle = (low + high) // 2
        if _error(values[low:middle], above) is None:
            low = middle
        else:
            high = middle
    return low


class _Parts:
    """What is pickled with an object, and how a step to each part is called."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._groups: list[tuple[int, Callable[[int], str]]] = []

    def add(self, values: Iterable[Any], name: Callable[[int], str]) -> None:
        """Take a group of parts; the name of each is asked for by its place in it."""
        self._groups.append((len(self.values), name))
        self.values.extend(islice(values, MOST_PARTS))

    def add_one(self, value: object, name: str) -> None:
        self.add([value], lambda _: name)

    def add_named(self, values: Mapping[Any, Any] | None, form: str) -> None:
        """Take the values of a mapping; the form gets the key."""
        names = list(values or ())
        self.add((values or {}).values(), lambda i: form.format(names[i]))

    def add_pairs(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Take the keys and values of a dict."""
        both = list(islice(pairs, MOST_PARTS))
        keys = [key for key, _ in both]
        self.add(keys, lambda i: f"key {short_repr(keys[i])}")
        self.add((value for _, value in both), lambda i: f"[{short_repr(keys[i])}]")

    def name(self, index: int) -> str:
        start, name = next(g for g in reversed(self._groups) if g[0] <= index)
        part = self.values[index]
        return name(index - start) or _name(part) or type(part).__name__


def _parts(obj: Any) -> _Parts:
    parts = _Parts()
    cls = type(obj)
    try:
        if cls in (list, tuple):
            parts.add(obj, lambda i: f"[{i}]")
        elif cls is dict:
            parts.add_pairs(obj.items())
        elif cls in (set, frozenset):
            parts.add(obj, lambda i: f"element {short_repr(parts.values[i])}")
        elif isinstance(obj, functools.partial):
            _add_partial(parts, obj)
        elif isinstance(obj, MethodType | BuiltinMethodType):
            parts.add_one(obj.__self__, "self")
            parts.add_one(getattr(obj, "__func__", None), "the function")
        elif (reduced := _reduced(obj)) is None:
            pass
        elif isinstance(obj, FunctionType):
            _add_function(parts, obj)
        else:
            _add_reduced(parts, obj, *reduced)
    except Exception:  # noqa: BLE001 - then the object itself is what fails
        pass
    return parts


def _add_partial(parts: _Parts, obj: functools.partial[Any]) -> None:
    parts.add_one(obj.func, "")
    parts.add(obj.args, lambda i: f"argument {i}")
    parts.add_named(obj.keywords, "argument {!r}")
    parts.add_named(vars(obj), ".{}")


def _add_function(parts: _Parts, obj: FunctionType) -> None:
    """What cloudpickle takes along with a function that it cannot send by name."""
    closure: dict[str, Any] = {}
    for name, cell in zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    used = _globals_used(obj.__code__)
    scope = {name: obj.__globals__[name] for name in used if name in obj.__globals__}
    parts.add_named(closure, "closure variable {!r}")
    parts.add_named(scope, "global {!r}")
    count = len(obj.__defaults__ or ())
    names = obj.__code__.co_varnames[: obj.__code__.co_argcount][-count:]
    defaults = dict(zip(names, obj.__defaults__ or (), strict=False))
    parts.add_named({**defaults, **(obj.__kwdefaults__ or {})}, "default of {!r}")
    parts.add_named(vars(obj), ".{}")
    parts.add_named(obj.__annotations__, "annotation of {!r}")


def _globals_used(code: CodeType) -> list[str]:
    """Names of globals in the order of their use, also by functions inside.

    Not simply `co_names`, which holds attributes too: a lock that happens to be called
    like one would be blamed.
    """
    names: dict[str, None] = {}
    todo = [code]
    while todo:
        code = todo.pop(0)
        for step in dis.get_instructions(code):
            if step.opname.endswith("_GLOBAL"):
                names[step.argval] = None
        todo += [const for const in code.co_consts if isinstance(const, CodeType)]
    return list(names)


def _reduced(obj: Any) -> tuple[Any, ...] | None:
    """What cloudpickle takes an object apart into; None where it takes its name."""
    pickler = _Pickler({})
    reduced = pickler.reducer_override(obj)
    if reduced is NotImplemented and not isinstance(obj, type | FunctionType):
        reducer = pickler.dispatch_table.get(type(obj))
        reduced = reducer(obj) if reducer else obj.__reduce_ex__(PROTOCOL)
    return reduced if isinstance(reduced, tuple) else None


def _add_reduced(
    parts: _Parts,
    obj: object,
    make: Any,
    args: tuple[Any, ...],
    state: object = None,
    elements: Iterable[Any] | None = None,
    pairs: Iterable[tuple[Any, Any]] | None = None,
    *_: object,
) -> None:
    """The six things of `object.__reduce__`, with the likely ones first."""
    _add_state(parts, obj, state)
    parts.add(elements or (), lambda i: f"[{i}]")
    parts.add_pairs(pairs or ())
    if getattr(make, "__name__", "") == "__newobj__":
        parts.add_one(args[0], "")
        names = getattr(args[0], "_fields", ())  # of a namedtuple
        args, make = args[1:], args[0]
        if len(names) == len(args):
            parts.add(args, lambda i: f".{names[i]}")
            return
    name = getattr(make, "__name__", type(make).__name__)
    parts.add(args, lambda i: f"argument {i} of {name}")
    parts.add_one(make, "")


def _add_state(parts: _Parts, obj: object, state: object) -> None:
    halves: tuple[Any, ...] = (state,)
    if isinstance(state, tuple) and len(state) == 2:  # with __slots__
        halves = state
    elif isinstance(state, list) and is_dataclass(obj):  # frozen, with __slots__
        names = [field.name for field in fields(obj)]
        halves = (dict(zip(names, state, strict=True)),)
    if all(half is None or isinstance(half, dict) for half in halves):
        for half in halves:
            parts.add_named(half, ".{}")
    else:
        parts.add_one(state, "its state")


def _name(obj: object) -> str:
    """What a function or class is called in a path; empty for all else."""
    if isinstance(obj, type):
        return f"class {obj.__name__}"
    if isinstance(obj, functools.partial):
        return "partial"
    if not isinstance(obj, FunctionType | MethodType | BuiltinMethodType):
        return ""
    if obj.__name__ == "<lambda>" and isinstance(obj, FunctionType):
        code = obj.__code__
        return f"lambda ({PurePath(code.co_filename).name}:{code.co_firstlineno})"
    return obj.__qualname__.rpartition("<locals>.")[2]


def _printed(path: list[str]) -> str:
    if len(path) > MOST_PRINTED:
        half = MOST_PRINTED // 2
        gap = f"({len(path) - 2 * half} more)"
        path = [*path[:half], gap, *path[-half:]]
    return " -> ".join(path)


def _words(exc: BaseException) -> str:
    """What an exception says, in a line."""
    if isinstance(exc, RecursionError) or isinstance(exc.__cause__, RecursionError):
        return (
            "it is nested too deeply for pickle, which recurses (a long linked list?),"
            " or its __reduce__ or __getattr__ calls itself"
        )
    text = " ".join(str(exc).split())[:MOST_REASON]
    if isinstance(exc, TypeError) and text:
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
