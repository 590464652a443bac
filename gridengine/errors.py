"""Every error that `gridengine` raises on purpose.

GridEngineError
 |- TimeoutError           a wait ended before the work (also the builtin TimeoutError)
 |- NotPicklable           an object cannot be sent to another process (a TypeError)
 |- WorkerDied             an item ended its worker process each time it was run
 `- RemoteError            stands in for an exception that could not be sent
RemoteTraceback           the cause of an exception that was raised on a worker

Every one survives pickling: ``Exception.args`` hold what ``__init__`` takes.
"""

from __future__ import annotations

import builtins
import reprlib
import textwrap

from dask_gridengine.errors import GridEngineError

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80


def short_repr(item: object) -> str:
    """The repr of an item in a short line, of a container the first elements only.

    Examples
    --------
    >>> short_repr(list(range(1_000_000)))
    '[0, 1, 2, 3, 4, 5, ...]'
    """
    try:
        text = " ".join(_short.repr(item).split())
    except Exception:  # noqa: BLE001 - __repr__ is the user's code
        return f"<{type(item).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}"


def item_name(index: int | None, item: str) -> str:
    """Call an item as all messages do, e.g. ``item 17 (Point(x=1))``.

    The index is None for a job that was started alone.
    """
    if index is None:
        return f"the job {item}".rstrip()
    return f"item {index} ({item})" if item else f"item {index}"


class TimeoutError(GridEngineError, builtins.TimeoutError):
    """A wait ended before the work; the work goes on."""

    def __init__(self, evidence: str) -> None:
        super().__init__(
            evidence, hint="wait again, with a longer timeout or with timeout=None"
        )
        self.evidence = evidence

    @property
    def message(self) -> str:
        return f"{self.evidence}; the work goes on"


class NotPicklable(GridEngineError, TypeError):
    """An object cannot be sent to a worker, or back.

    `what` is the object, e.g. ``"item 17"``; `path` is the way to its part that is to
    blame, e.g. ``"item 17 -> .handle -> ['lock']"``; `reason` is the error of pickle.
    """

    def __init__(self, what: str, path: str, reason: str) -> None:
        super().__init__(
            what,
            path,
            reason,
            hint="open such things (files, locks, connections, generators) inside the"
            " function, on the worker, and send what they are made from",
        )
        self.what, self.path, self.reason = what, path, reason

    @property
    def message(self) -> str:
        return (
            f"{self.what} cannot be sent to another process: {self.reason}\n"
            f"  where: {self.path}"
        )


class WorkerDied(GridEngineError):
    """An item ended its worker process each time it was run.

    `index` is its place in the input (None for a job that was started alone),
    `item` its short repr, `times` the number of workers, `reasons` what is known of
    their ends, and `others_lost` whether results of other items are lost with it.
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
                "  Hint: most often there was not enough memory: request more with"
                " memory=; else look for a crash in compiled code or a call of os._exit"
            )
        if self.others_lost:
            lines.append("  to keep the results of the other items: reraise=False")
        return "\n".join(lines)


class RemoteTraceback(Exception):
    """Where on a worker an exception was raised; the cause of that exception.

    `index` and `item` are those of `WorkerDied`, `worker` is a name and host, `text` is
    the traceback as it was formatted there.
    """

    def __init__(self, index: int | None, item: str, worker: str, text: str) -> None:
        super().__init__(index, item, worker, text)
        self.index, self.item, self.worker, self.text = index, item, worker, text

    def __str__(self) -> str:
        where = f" on {self.worker}" if self.worker else ""
        framed = textwrap.indent(self.text.rstrip(), "  | ", lambda line: True)
        return f"{item_name(self.index, self.item)}{where}:\n{framed}"


class RemoteError(GridEngineError):
    """Stands in for an exception of the function that could not be sent.

    `type_name` and `text` are the type and message of the original; `reason` says why
    it could not be sent.
    """

    def __init__(self, type_name: str, text: str, reason: str) -> None:
        super().__init__(
            type_name,
            text,
            reason,
            hint="to get the original, keep its attributes picklable, and define it"
            " where both sides can import it",
        )
        self.type_name, self.text, self.reason = type_name, text, reason

    @property
    def message(self) -> str:
        return (
            f"{self.type_name}: {self.text}\n"
            f"  a RemoteError stands in for it: {self.reason}"
        )
