"""What runs on a worker: a few items, for a limited time.

A chunk is limited in time rather than in items, since the time of an item is not known
beforehand. When the time is up the worker returns the results so far, and the host
sends the rest again. Workers import this module and no cluster.
"""

from __future__ import annotations

import copyreg
import functools
import inspect
import pickle
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import cloudpickle
from dask.sizeof import sizeof

from gridengine.errors import (
    NotPicklable,
    RemoteError,
    RemoteTraceback,
    item_name,
    short_repr,
)

#: Bytes from which a buffer is sent beside the pickle. Below, one more frame on the
#: wire costs more than a copy.
BUFFER_BYTES = 64 * 1024
PROTOCOL = 5  # the first with buffers beside the pickle (PEP 574)
#: Bytes of results from which a worker returns what it has.
MAX_RESULT_BYTES = 64 * 2**20
MAX_TRACEBACK = 20_000  # characters
MAX_PATH = 20  # steps to the part that cannot be pickled

DAEMONIC = "daemonic processes are not allowed to have children"
DAEMONIC_HINT = (
    "gridengine: Dask's workers are daemonic processes. Hint: set"
    " distributed.worker.daemon to False in Dask's configuration before the cluster"
    " starts, or use gridengine.map inside the function instead of multiprocessing"
)


class Serialized:
    """A pickled value; its large buffers are sent beside the pickle, without a copy.

    Dask does not look into it. It would serialise each element of a list separately,
    which takes 20 s for a million ints (dask/distributed#6368).
    """

    def __init__(self, what: str, *frames: Any) -> None:
        self.what, self.frames = what, frames

    @classmethod
    def of(cls, value: Any, what: str) -> Serialized:
        """Pickle a value, which must not change before it has been sent."""
        try:
            return cls(what, *_pickled(value))
        except Exception as exc:
            raise _not_picklable(value, what, exc) from exc

    def load(self) -> Any:
        """Rebuild a new copy; raises ModuleMissing or NotPicklable if that fails."""
        try:
            return pickle.loads(self.frames[0], buffers=self.frames[1:])
        except Exception as exc:
            if isinstance(exc, ModuleNotFoundError) and exc.name:
                from dask_gridengine.worker.task_loading import raise_missing

                raise_missing(exc)
            reason = f"it cannot be rebuilt there: {type(exc).__name__}: {exc}"
            raise NotPicklable(self.what, self.what, reason) from exc

    @functools.cached_property
    def value(self) -> Any:
        """The value, each time the same copy."""
        return self.load()

    @property
    def nbytes(self) -> int:
        """Bytes to be sent."""
        return sum(memoryview(frame).nbytes for frame in self.frames)

    def __sizeof__(self) -> int:
        """The memory that Dask counts for it."""
        return object.__sizeof__(self) + self.nbytes

    def __reduce__(self) -> tuple[Any, ...]:
        return Serialized, (self.what, *map(_out_of_band, self.frames))


def _out_of_band(frame: Any) -> Any:
    view = memoryview(frame)
    return pickle.PickleBuffer(view) if view.nbytes >= BUFFER_BYTES else bytes(view)


def _pickled(value: Any) -> list[Any]:
    """The pickle, and the buffers beside it."""
    buffers: list[memoryview] = []

    def takes_in(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < BUFFER_BYTES:
            return True
        buffers.append(raw)
        return False

    # Plain pickle is faster, since cloudpickle examines each object. But plain pickle
    # stores functions of __main__ as names, and a worker has another __main__.
    if not cloudpickle.list_registry_pickle_by_value():
        with suppress(Exception):
            plain = pickle.dumps(value, PROTOCOL, buffer_callback=takes_in)
            if b"__main__" not in plain:
                return [plain, *buffers]
        buffers.clear()
    by_value = cloudpickle.dumps(value, PROTOCOL, buffer_callback=takes_in)
    return [by_value, *buffers]


def size_of(value: Any) -> int:
    """About how many bytes a value takes in memory; 0 if it cannot tell."""
    try:
        return int(sizeof(value))
    except Exception:  # noqa: BLE001 - __sizeof__ may be the user's code
        return 0


def _not_picklable(value: Any, what: str, error: BaseException) -> NotPicklable:
    """Find the part because of which a value could not be pickled."""
    path, visited = [what], {id(value)}
    while len(path) < MAX_PATH:
        for name, part in _parts(value):
            if id(part) not in visited and (found := _pickle_error(part)):
                visited.add(id(part))
                path.append(name)
                value, error = part, found
                break
        else:
            break
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    return NotPicklable(what, " -> ".join(path), reason)


def _pickle_error(value: Any) -> BaseException | None:
    try:
        _pickled(value)
    except Exception as exc:  # noqa: BLE001 - objects run their own code when pickled
        return exc
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What is pickled with a value, and how a path calls it."""
    if isinstance(value, dict):
        yield from ((f"[{short_repr(key)}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from (("the function", value.func), ("args", value.args))
        yield "keywords", value.keywords
    elif isinstance(value, MethodType):
        yield from (("self", value.__self__), ("the function", value.__func__))
    elif isinstance(value, FunctionType):
        with suppress(ValueError):  # a variable of its closure has no value yet
            found = inspect.getclosurevars(value)
            for name, part in found.nonlocals.items():
                yield f"closure variable {name!r}", part
            yield from (
                (f"global {name!r}", part) for name, part in found.globals.items()
            )
    else:
        states: Any = ()
        with suppress(Exception):  # its own code
            states = value.__reduce_ex__(PROTOCOL)[2]
        for state in states if isinstance(states, tuple) else (states,):
            if isinstance(state, dict):  # with __slots__ there are two
                yield from ((f".{name}", part) for name, part in state.items())


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of the function, on its way to the host."""

    index: int  # of the item in its chunk
    exception: bytes  # pickled; empty if that failed
    stand_in: RemoteError  # for an exception that cannot be rebuilt
    item: str
    worker: str
    traceback: str

    @classmethod
    def of(cls, exc: BaseException, index: int, item: object) -> Failure:
        """Take down an exception on the worker; never raises."""
        text = _traceback(exc)
        for name in ("__traceback__", "__cause__", "__context__"):
            _assign(exc, name, None)  # they are in the text, and may not be picklable
        kind = type(exc)
        type_name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        pickled, reason = b"", ""
        try:
            pickled = _pickled_exception(exc)
        except BaseException as error:  # noqa: BLE001 - runs the user's code
            reason = f"it cannot be pickled and rebuilt: {_message(error)}"
        stand_in = RemoteError(type_name, _message(exc), reason)
        return cls(index, pickled, stand_in, short_repr(item), worker_name(), text)

    def rebuild(self, start: int | None) -> BaseException:
        """The exception, on the host; `start` is the chunk's place in the input."""
        index = None if start is None else start + self.index
        exc: BaseException = self.stand_in
        if self.exception:
            try:
                exc = _rebuilt(self.exception)
            except Exception as error:  # noqa: BLE001 - runs the user's code
                name, text, _ = exc.args
                reason = f"it cannot be rebuilt in this process: {_message(error)}"
                exc = RemoteError(name, text, reason)
        where = f" on {self.worker}" if self.worker else ""
        notes = [f"gridengine: {item_name(index, self.item)}{where}"]
        if DAEMONIC in self.stand_in.text:
            notes.append(DAEMONIC_HINT)
        cause = RemoteTraceback(index, self.item, self.worker, self.traceback)
        _assign(exc, "__cause__", cause)
        with suppress(Exception):
            _assign(exc, "__notes__", [*getattr(exc, "__notes__", ()), *notes])
        return exc


def _assign(exc: BaseException, name: str, value: object) -> None:
    """Set an attribute, also of a frozen dataclass."""
    with suppress(Exception):
        BaseException.__setattr__(exc, name, value)


def _message(exc: BaseException) -> str:
    try:
        return str.__str__(str(exc))[:MAX_TRACEBACK] or type(exc).__name__
    except BaseException:  # noqa: BLE001 - __str__ is the user's code
        return f"{type(exc).__name__} (its str() failed)"


def _traceback(exc: BaseException) -> str:
    """The traceback as text, without our own frames at its top."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_next is not None:
        module = str(frames.tb_frame.f_globals.get("__name__"))
        if not module.startswith("gridengine."):
            break
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(exc), exc, frames))
    except BaseException:  # noqa: BLE001 - __str__ is the user's code
        text = "".join(traceback.format_tb(frames)) + type(exc).__name__
    return text[-MAX_TRACEBACK:]


def _pickled_exception(exc: BaseException) -> bytes:
    """Pickle an exception so that it can be rebuilt, which is tried here."""
    # Not with dumps(exc): distributed registers tblib for that, and tblib loses fields
    # of builtin exceptions that are not in args.
    for reduce in (_reduce, _reduce_without_init):
        try:
            # The args are sent, too: an __init__ may change them when it runs again.
            pickled: bytes = cloudpickle.dumps((reduce(exc), exc.args), PROTOCOL)
            if type(_rebuilt(pickled)) is type(exc):
                return pickled
        except Exception:
            if reduce is _reduce_without_init:
                raise
    raise TypeError("it is rebuilt as another type")


def _reduce(exc: BaseException) -> Any:
    return exc.__reduce_ex__(PROTOCOL)


def _reduce_without_init(exc: BaseException) -> Any:
    """For an __init__ that does not take the args."""
    make = copyreg.__newobj__  # type: ignore[attr-defined]
    return make, (type(exc), *exc.args), vars(exc)


def _rebuilt(pickled: bytes) -> BaseException:
    (make, given, *states), args = pickle.loads(pickled)
    exc: BaseException = make(*given)
    for state in states:
        vars(exc).update(state or {})
    _assign(exc, "args", args)
    return exc


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What comes back of a chunk."""

    values: Serialized  # of its first items: a list, with None for a failure
    failures: Sequence[Failure]
    seconds: float  # in the function


def run_chunk(
    function: Serialized, items: Serialized, seconds: float | None, stop: bool
) -> ChunkResult:
    """Apply a function to a sequence of items, one after the other.

    After `seconds`, or when the results are large, no other item is begun; if `seconds`
    is None, all items run. With `stop`, none runs after a failure.
    """
    call, arguments = function.value, items.load()
    results: list[Any] = []
    failures: list[Failure] = []
    started = time.perf_counter()
    # A timer thread: reading the clock at each item would add 40 ns to it.
    late: list[bool] = []
    timer = threading.Timer(seconds or 0, late.append, (True,))
    if seconds is not None:
        timer.daemon = True
        timer.start()
    size = 1
    while len(results) < len(arguments):
        block = arguments[len(results) : len(results) + size]
        failure = _run_block(call, block, results, late)
        if failure is not None:
            failures.append(failure)
            if stop:
                break
        each = max(1, size_of(results[-1]))
        room = MAX_RESULT_BYTES - each * len(results)
        if late or (seconds is not None and room <= 0):
            break
        # All results count as large as the last, so a block grows at most tenfold.
        size = min(10 * size, max(1, room // each))
    timer.cancel()
    spent = time.perf_counter() - started
    values = _serialize_results(results, failures)
    return ChunkResult(values, failures, spent)


def _run_block(
    call: Callable[[Any], Any], block: Iterable[Any], results: list[Any], late: object
) -> Failure | None:
    """Run to the end of the block, to the first failure, or until it is late."""
    item = None
    append = results.append
    try:
        for item in block:
            append(call(item))
            if late:
                break
    except BaseException as exc:  # noqa: BLE001 - SystemExit, too, is of its item only
        failure = Failure.of(exc, len(results), item)
        append(None)
        return failure
    return None


def _serialize_results(results: list[Any], failures: list[Failure]) -> Serialized:
    """Pickle the results; one that cannot be pickled is a failure of its item."""
    try:
        return Serialized.of(results, "the results")
    except NotPicklable:
        for index, result in enumerate(results):
            try:
                Serialized.of(result, "the result")
            except NotPicklable as exc:
                failures.append(Failure.of(exc, index, result))
                results[index] = None
        failures.sort(key=lambda failure: failure.index)
        return Serialized.of(results, "the results")


def worker_name() -> str:
    """Name and host of this worker; empty if this process is none."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return ""
    host = worker.address.partition("://")[2].rpartition(":")[0]
    return f"{worker.name}@{host}"
