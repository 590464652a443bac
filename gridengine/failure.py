"""What a worker sends back for an exception, and how the host makes it again.

worker: exception, item -> Failure.of  -> Failure (strings and a pickle)
host:   Failure         -> .at(index)  -> .rebuild() -> exception, from RemoteTraceback

A traceback cannot be pickled, so it travels as text. Many exceptions can be pickled
and not be unpickled, so the worker tries that before it sends one, and takes those
apart by itself.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from types import MemberDescriptorType, TracebackType
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped,unused-ignore]

from gridengine.errors import RemoteError, RemoteTraceback, item_name, short_repr

__all__ = ["Failure", "short_repr"]

T = TypeVar("T")

#: Bytes of a pickled exception; a bigger one is replaced by its text.
MOST_PAYLOAD = 10 * 2**20
#: Characters of a traceback.
MOST_TRACEBACK = 20_000
#: Characters of an exception's message where the exception itself is replaced.
MOST_TEXT = 4_000
#: How multiprocessing refuses to start a process in a worker, and what to do.
DAEMONIC = "daemonic processes are not allowed to have children"
DAEMONIC_HINT = (
    "gridengine: Dask's workers are daemonic processes. Hint: set"
    " distributed.worker.daemon to False in Dask's configuration before the cluster"
    " starts, or use gridengine.map inside the function instead of multiprocessing"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception on its way from a worker to the host."""

    index: int  # of the item; on the worker in its chunk, on the host in the input
    item: str  # short repr of the item
    worker: str  # name@host, or empty
    traceback: str  # as formatted on the worker, with the chained exceptions
    payload: bytes | None  # the pickled exception; None if it cannot travel
    type_name: str
    text: str  # str() of the exception
    reason: str  # why there is no payload; empty if there is

    @classmethod
    def of(
        cls, exc: BaseException, index: int, item: object, worker: str = ""
    ) -> Failure:
        """Take down an exception, on the worker. Never raises.

        Parameters
        ----------
        exc
            Any exception, also KeyboardInterrupt and the like.
        index
            The item's place in its chunk.
        item
            What the function was called with.
        worker
            Name and host of this worker.
        """
        name = _guarded(lambda: _type_name(exc), "an exception")
        payload, reason = _payload(exc)
        return cls(
            index=index,
            item=_guarded(lambda: short_repr(item), "?"),
            worker=worker,
            traceback=_guarded(lambda: _traceback(exc), f"{name} (no traceback)"),
            payload=payload,
            type_name=name,
            text=_guarded(lambda: _clip(str(exc), MOST_TEXT), "(its str() failed)"),
            reason=reason,
        )

    def at(self, index: int) -> Failure:
        """The same, with the item's place in the whole input."""
        return replace(self, index=index)

    def rebuild(self, *, alone: bool = False) -> BaseException:
        """Make the exception again, on the host; a new one each time.

        Parameters
        ----------
        alone
            Whether the item is a job that was started by itself: it has no place in an
            input, whatever `index` says.

        Returns
        -------
        BaseException
            Of the same type, with the same args, attributes and notes, its cause a
            `RemoteTraceback`; a `RemoteError` with that cause if it could not travel.
        """
        exc = self._load()
        where = f" on {self.worker}" if self.worker else ""
        index = None if alone else self.index
        note = f"gridengine: {item_name(index, self.item)}{where}"
        cause = RemoteTraceback(index, self.item, self.worker, self.traceback)
        _assign(exc, "__cause__", cause)
        if hasattr(BaseException, "add_note"):  # Python 3.11
            notes = _guarded(lambda: [*getattr(exc, "__notes__", ()), note], [note])
            if DAEMONIC in self.text:
                notes.append(DAEMONIC_HINT)
            _assign(exc, "__notes__", notes)
        return exc

    def _load(self) -> BaseException:
        if self.payload is None:
            return RemoteError(self.type_name, self.text, self.reason)
        try:
            return _unpickled(self.payload)
        except Exception as exc:  # noqa: BLE001 - unpickling runs the user's code
            reason = f"it cannot be rebuilt in this process: {_words(exc)}"
            return RemoteError(self.type_name, self.text, reason)


def _guarded(call: Callable[[], T], otherwise: T) -> T:
    try:
        return call()
    except BaseException:  # noqa: BLE001 - the user's __str__ and the like raise anything
        return otherwise


def _assign(exc: BaseException, name: str, value: object) -> None:
    """Set an attribute, past a `__setattr__` that forbids it (a frozen dataclass)."""
    # Only a property of the exception's own class is in the way then.
    with suppress(Exception):
        BaseException.__setattr__(exc, name, value)


def _type_name(exc: BaseException) -> str:
    cls = type(exc)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def _words(exc: BaseException) -> str:
    """An exception in a line."""
    name = type(exc).__name__
    text = _guarded(lambda: _clip(" ".join(str(exc).split()), 500), "")
    return f"{name}: {text}" if text else name


def _clip(text: str, most: int) -> str:
    """The head and the longer tail of what is too long."""
    text = str.__str__(text)  # a __str__ may return a subclass, which may not pickle
    if len(text) <= most:
        return text
    head, tail = most * 2 // 5, most * 3 // 5
    gap = f"\n... {len(text) - head - tail} characters are left out ...\n"
    return f"{text[:head]}{gap}{text[-tail:]}"


def _traceback(exc: BaseException) -> str:
    lines = traceback.format_exception(type(exc), exc, _users(exc.__traceback__))
    return _clip("".join(lines), MOST_TRACEBACK)


def _users(frames: TracebackType | None) -> TracebackType | None:
    """Without our own frames at the top; an error of our own keeps its last one."""
    while frames is not None and frames.tb_next is not None:
        module = str(frames.tb_frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] != "gridengine":
            break
        frames = frames.tb_next
    return frames


class _TooBig(Exception):
    """A pickle has grown past what may be sent."""


class _Bounded(io.BytesIO):
    """A file that refuses to become big, before it has become big."""

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            if self.tell() + view.nbytes > MOST_PAYLOAD:
                raise _TooBig
        return super().write(data)


class _Registered:
    """The reducers that were registered with `copyreg`, but for tblib's.

    Distributed registers those for the exceptions that it knows of, when it is imported
    and whenever it sends one. They take along the frames and all chained exceptions, of
    which each may be what cannot be pickled.
    """

    def __init__(self, table: Mapping[type, Any]) -> None:
        self._table = table

    def __getitem__(self, cls: type) -> Any:
        reducer = self._table[cls]
        if getattr(reducer, "__module__", "") == "tblib.pickling_support":
            raise KeyError(cls)
        return reducer


class _Plain(pickle.Pickler):
    dispatch_table: Any = _Registered(copyreg.dispatch_table)


class _Cloud(cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
    dispatch_table: Any = _Registered(cloudpickle.Pickler.dispatch_table)


def _payload(exc: BaseException) -> tuple[bytes | None, str]:
    """The pickled exception, or None and why not."""
    reason = ""
    for take, pickler in product((_whole, _apart), (_Plain, _Cloud)):
        file = _Bounded()
        try:
            pickler(file, 5).dump(take(exc))
        except _TooBig:
            return None, f"its pickle is bigger than {MOST_PAYLOAD >> 20} MB"
        except BaseException as error:  # noqa: BLE001 - runs the user's __reduce__
            reason = f"it cannot be pickled: {_words(error)}"
            continue
        try:
            copy = _unpickled(file.getvalue())
        except BaseException as error:  # noqa: BLE001 - runs the user's __init__
            reason = f"it can be pickled but not be rebuilt: {_words(error)}"
            continue
        if type(copy) is type(exc):
            return file.getvalue(), ""
        reason = f"it unpickles as another type, {type(copy).__name__}"
    return None, reason


def _whole(exc: BaseException) -> tuple[Any, ...]:
    # The args go along: an __init__ that composes its message would do so once more
    # on unpickling, and leave "code code 5" where "code 5" was.
    return exc, exc.args


def _apart(exc: BaseException) -> tuple[Any, ...]:
    """For an __init__ that does not take the args; it is not called then."""
    state = {}
    for base in type(exc).__mro__:
        for name, kind in vars(base).items():
            # __slots__, and what builtin exceptions keep beside args, such as errno.
            # There None is unset: an OSError with a filename set to None shows it.
            if isinstance(kind, MemberDescriptorType) and not name.startswith("__"):
                state[name] = getattr(exc, name, None)
    given = {name: value for name, value in state.items() if value is not None}
    return type(exc), exc.args, {**given, **exc.__dict__}


def _unpickled(payload: bytes) -> BaseException:
    first, args, *states = pickle.loads(payload)
    exc = first.__new__(first, *args) if states else first
    if not isinstance(exc, BaseException):
        raise TypeError(f"{type(exc).__name__} is no exception")
    for state in states:
        for name, value in state.items():
            _assign(exc, name, value)
    _assign(exc, "args", args)
    return exc
