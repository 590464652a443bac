"""A value on its way: pickled once, its big buffers beside it and never copied.

Dask would walk into a list and serialise every element by itself, which takes 20 s for
a million ints (dask/distributed#6368). It does not walk into a `Sealed`.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import cloudpickle
from dask.sizeof import sizeof

from gridengine.errors import NotPicklable
from gridengine.unpicklable import culprit

#: Bytes from which a buffer travels by itself. Below, one more frame on the wire costs
#: more than the copy.
BUFFER_BYTES = 64 * 1024

PROTOCOL = 5  # the first with buffers beside the pickle (PEP 574)


class Sealed:
    """A pickled value.

    Parameters
    ----------
    what
        What to call it in an error.
    *frames
        The pickle, then the buffers it refers to, in their order.
    """

    __slots__ = ("_opened", "frames", "what")

    def __init__(self, what: str, *frames: Any) -> None:
        self.what, self.frames = what, frames

    @classmethod
    def of(cls, value: Any, what: str) -> Sealed:
        """Pickle a value.

        Parameters
        ----------
        value
            Anything; big arrays in it are referred to, so it must not change until it
            has been sent.
        what
            What to call it in the error.

        Raises
        ------
        NotPicklable
            It names the part that cannot be pickled.
        """
        buffers: list[memoryview] = []

        def beside(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()  # flat, in the order of memory
            if raw.nbytes < BUFFER_BYTES:
                return True  # the pickler takes it in
            buffers.append(raw)
            return False

        try:
            return cls(what, _pickle(value, beside, buffers), *buffers)
        except Exception as exc:
            raise culprit(value, what) from exc

    def open(self) -> Any:
        """The value; a new one each time, but for the memory of its big buffers.

        Raises
        ------
        ModuleMissing
            If it needs a module that is not here.
        NotPicklable
            If it cannot be rebuilt here for another reason.
        """
        try:
            return pickle.loads(self.frames[0], buffers=self.frames[1:])
        except Exception as exc:
            if isinstance(exc, ModuleNotFoundError) and exc.name:
                from dask_gridengine.worker.task_loading import raise_missing

                raise_missing(exc)
            reason = f"it cannot be rebuilt there: {type(exc).__name__}: {exc}"
            raise NotPicklable(self.what, self.what, reason) from exc

    def open_once(self) -> Any:
        """The value; the same one each time."""
        try:
            return self._opened
        except AttributeError:
            self._opened: Any = self.open()
            return self._opened

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(memoryview(frame).nbytes for frame in self.frames)

    def __sizeof__(self) -> int:
        """What Dask's `sizeof` takes for the memory this holds on a worker."""
        return object.__sizeof__(self) + self.nbytes

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if protocol < PROTOCOL:
            frames: Iterable[Any] = map(_copied, self.frames)
        else:
            frames = _beside(self.frames)
        return Sealed, (self.what, *frames)


def weigh(value: Any) -> int:
    """About how many bytes a value takes in memory; 0 if that cannot be told."""
    try:
        return int(sizeof(value))
    except Exception:  # noqa: BLE001 - its own __sizeof__ may fail, or it is a cycle
        return 0


def _pickle(value: Any, beside: Any, buffers: list[Any]) -> bytes:
    """By plain pickle if that will do, since cloudpickle looks at every object."""
    if not cloudpickle.list_registry_pickle_by_value():
        try:
            pickled = pickle.dumps(value, PROTOCOL, buffer_callback=beside)
        except Exception:  # noqa: BLE001 - whatever it is, cloudpickle may do it
            pickled = b"__main__"
        # By name, what is in __main__ here would be looked for in the worker's.
        if b"__main__" not in pickled:
            return pickled
        buffers.clear()
    by_value: bytes = cloudpickle.dumps(value, PROTOCOL, buffer_callback=beside)
    return by_value


def _copied(frame: Any) -> Any:
    view = memoryview(frame)
    return bytes(view) if view.readonly else bytearray(view)


def _beside(frames: Iterable[Any]) -> Iterable[Any]:
    for frame in frames:
        view = memoryview(frame)
        yield pickle.PickleBuffer(view) if view.nbytes >= BUFFER_BYTES else bytes(view)
