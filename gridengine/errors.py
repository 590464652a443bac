"""Everything `gridengine` raises on purpose, below the one base of both packages.

GridEngineError
 |- TimeoutError           a wait ended before the work (also the builtin TimeoutError)
 |- NotPicklable           something cannot leave its process (also a TypeError)
 |- WorkerDied             an item ended its worker process each time it was run
 `- RemoteError            stands in for an exception that could not travel
RemoteTraceback           the cause of an exception that was raised on a worker

Every one survives pickling: ``Exception.args`` hold what ``__init__`` takes.
"""

from __future__ import annotations

import builtins
import math
import textwrap
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

from dask_gridengine.errors import GridEngineError

#: Characters of a `short_repr`.
WIDTH = 80
#: Elements of a container that it shows.
SHOWN = 6


def item_name(index: int | None, item: str) -> str:
    """Call an item as all messages do: ``item 17 (Point(x=1, y=2))``.

    Parameters
    ----------
    index
        Its place in the input; None for a job that was started by itself.
    item
        Its short repr; may be empty.
    """
    if index is None:
        return f"the job {item}".rstrip()
    return f"item {index} ({item})" if item else f"item {index}"


class TimeoutError(GridEngineError, builtins.TimeoutError):
    """A wait ended before the work; the work goes on.

    Parameters
    ----------
    evidence
        How long was waited for what, and what is there, in a clause.
    """

    def __init__(self, evidence: str) -> None:
        super().__init__(evidence)
        self.evidence = evidence

    def __str__(self) -> str:
        return (
            f"{self.evidence}; the work goes on\n"
            "  Hint: wait again, with a longer timeout or with timeout=None"
        )


class NotPicklable(GridEngineError, TypeError):
    """Something cannot leave its process: be sent to a worker, or come back.

    Parameters
    ----------
    what
        What was to be sent, e.g. ``"item 17 of the arguments"``.
    path
        The way to the part that is to blame: ``"item 17 -> .handle -> ['lock']"``.
    reason
        What pickle says of that part.
    """

    def __init__(self, what: str, path: str, reason: str) -> None:
        super().__init__(what, path, reason)
        self.what, self.path, self.reason = what, path, reason

    def __str__(self) -> str:
        return (
            f"{self.what} cannot be sent to another process: {self.reason}\n"
            f"  where:      {self.path}\n"
            "  Hint: open such things (files, locks, connections, generators)"
            " inside the function, on the worker, and send what they are made from"
        )


class WorkerDied(GridEngineError):
    """An item ended its worker process each time it was run.

    Parameters
    ----------
    index
        The item's place in the input; None for a job that was started by itself.
    item
        Its short repr.
    times
        How many workers it ended.
    reasons
        What is known of their ends: a sentence for each, perhaps with what to do.
    others_lost
        Whether the results of other items are lost with this error.
    """

    def __init__(
        self,
        index: int | None,
        item: str,
        times: int,
        reasons: str,
        others_lost: bool = False,
    ) -> None:
        super().__init__(index, item, times, reasons, others_lost)
        self.index, self.item, self.times = index, item, times
        self.reasons, self.others_lost = reasons, others_lost

    def __str__(self) -> str:
        each = f" each of the {self.times} times it was run" if self.times > 1 else ""
        reasons = self.reasons.strip() or "nothing is known about its end"
        lines = [
            f"{item_name(self.index, self.item)} ended its worker process{each}",
            textwrap.indent(reasons, "  "),
        ]
        if "Hint:" not in reasons:
            lines.append(
                "  Hint: most often there was not enough memory: ask for more"
                " with memory=; else look for a crash in compiled code or a call of"
                " os._exit"
            )
        if self.others_lost:
            lines.append("  to keep the results of the other items: reraise=False")
        return "\n".join(lines)


class RemoteTraceback(Exception):
    """Where on a worker an exception was raised; it is the cause of the exception.

    Parameters
    ----------
    index
        The place in the input of the item that the function was called with; None for
        a job that was started by itself.
    item
        Its short repr.
    worker
        Name and host of the worker; may be empty.
    text
        The traceback as it was formatted there.
    """

    def __init__(self, index: int | None, item: str, worker: str, text: str) -> None:
        super().__init__(index, item, worker, text)
        self.index, self.item, self.worker, self.text = index, item, worker, text

    def __str__(self) -> str:
        where = f" on {self.worker}" if self.worker else ""
        framed = textwrap.indent(self.text.rstrip(), "  | ", lambda line: True)
        return f"{item_name(self.index, self.item)}{where}:\n{framed}"


class RemoteError(GridEngineError):
    """Stands in for an exception of the function that could not travel.

    Parameters
    ----------
    type_name
        The type of the original, e.g. ``"mymodule.MyError"``.
    text
        What ``str()`` made of the original.
    reason
        Why the original is not here.
    """

    def __init__(self, type_name: str, text: str, reason: str) -> None:
        super().__init__(type_name, text, reason)
        self.type_name, self.text, self.reason = type_name, text, reason

    def __str__(self) -> str:
        return (
            f"{self.type_name}: {self.text}\n"
            f"  a RemoteError stands in for it, since {self.reason}\n"
            "  to get the original: keep its attributes picklable and small, its"
            " __new__ callable with its args, and define it where both sides import it"
        )


def short_repr(item: object) -> str:
    """A repr of one short line. Never raises; cheap, however big the item is.

    Of containers only the first elements are looked at, of arrays and tables their
    shape. Any other class is asked for its own repr.

    Examples
    --------
    >>> short_repr(list(range(1_000_000)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    try:
        text = " ".join(_shown(item, 3).split())
    except Exception:  # noqa: BLE001 - __repr__ is the user's code
        text = f"<{type(item).__name__}>"
    return _ends(text, WIDTH)


def _ends(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4 - 3]}...{text[-(most // 4) :]}"


def _shown(item: Any, depth: int) -> str:
    cls = type(item)
    if isinstance(item, str | bytes | bytearray):
        return _shown_text(item)
    if isinstance(item, int) and int.bit_length(item) > 4 * WIDTH:
        return f"<{cls.__name__} of {int.bit_length(item)} bits>"
    if isinstance(item, tuple) and hasattr(cls, "_fields"):
        return _shown_fields(item, cls._fields, depth)
    if isinstance(item, list | tuple | set | frozenset | dict | deque | array):
        return _shown_elements(item, depth)
    if is_dataclass(cls) and _repr_is_generated(cls):
        names = [field.name for field in fields(cls) if field.repr]
        return _shown_fields(item, names, depth)
    if hasattr(cls, "shape") and isinstance(item.shape, tuple):
        return _shown_array(item)
    return repr(item)


def _shown_text(item: str | bytes | bytearray) -> str:
    """The repr, its middle left out before it is made."""
    if len(item) <= WIDTH:
        return repr(item)
    return f"{item[: WIDTH * 3 // 4]!r}...{item[-WIDTH // 4 :]!r}"


def _shown_elements(item: Any, depth: int) -> str:
    cls = type(item)
    if depth == 0:
        shown = ["..."]
    elif isinstance(item, dict):
        pairs = islice(item.items(), SHOWN)
        shown = [f"{_shown(k, depth - 1)}: {_shown(v, depth - 1)}" for k, v in pairs]
    else:
        shown = [_shown(element, depth - 1) for element in islice(item, SHOWN)]
    if len(item) > SHOWN and depth:
        shown.append("...")
    text = ", ".join(shown)
    if isinstance(item, tuple):
        text = f"({text},)" if len(item) == 1 else f"({text})"
    else:
        text = f"[{text}]" if isinstance(item, list | deque | array) else f"{{{text}}}"
    plain = cls in (list, tuple, dict) or (cls is set and item)
    return text if plain else f"{cls.__name__}({text})"


def _shown_fields(item: Any, names: Iterable[str], depth: int) -> str:
    name = type(item).__name__
    if depth == 0:
        return f"{name}(...)"
    shown = (f"{n}={_shown(getattr(item, n), depth - 1)}" for n in names)
    return f"{name}({', '.join(shown)})"


def _repr_is_generated(cls: type) -> bool:
    """Whether a dataclass left its repr to `dataclass`, which would show all of it."""
    scope = getattr(cls.__repr__, "__globals__", {})
    return scope.get("__name__") in ("dataclasses", "reprlib")


def _shown_array(item: Any) -> str:
    """An array or a table by its shape; numpy's repr is long if its options say so."""
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    if kind and kind in "biufc" and math.prod(item.shape) <= SHOWN:
        return repr(item)
    dtype = f" {item.dtype}" if kind else ""
    return f"<{type(item).__name__}{dtype} of shape {item.shape}>"
