"""Every error that this package raises on purpose.

::

    GridEngineError
     |- OptionError            an option's value is invalid (also a ValueError)
     |   `- UnknownOption         there is no option of this name (also a TypeError)
     |- MessageError           received bytes are not a valid message
     |- LauncherError          the launcher could not do what was requested
     |   |- LauncherUnavailable   this launcher does not work here; nothing was started
     |   |- SubmitError           the grid refused the array; nothing was queued
     |   |   |- GridFull          ... for now: this user has as many jobs as allowed
     |   |   `- ArrayTooLarge     ... because one array must not have so many tasks
     |   `- DrmCommunicationError the grid does not answer; nothing is known
     |- BootstrapError         a node could not get its allocation
     |- ClusterNotRunning      it is closed or has not started (also a RuntimeError)
     |- NoAnswer               a cluster did not answer a control request
     |- NodesFailed            nodes ended before they became workers
     |- ModuleMissing          a node lacks a module that a task imports (ImportError)
     |- Unsatisfiable          a task requires what no kind of nodes has

Each error survives pickling: ``Exception.args`` hold what ``__init__`` takes. Each says
what failed and why, then ``Hint:`` with what to type, in at most five lines.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from dask_gridengine.formatting import listed, plural

P = ParamSpec("P")
T = TypeVar("T")
REASONS_SHOWN = 2  # of `NodesFailed`; each may have two lines


HINT = "Hint:"


def with_hint(message: str, hint: str) -> str:
    """Append a hint, if there is one, to a message.

    Examples
    --------
    >>> print(with_hint("ge-1 is closed", "make a new GridEngineCluster"))
    ge-1 is closed
      Hint: make a new GridEngineCluster
    """
    return f"{message}\n  {HINT} {hint}" if hint else message


class GridEngineError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    *args
        As for any exception.
    hint
        What to type next; "" if nothing is known to help.
    """

    def __init__(self, *args: object, hint: str = "") -> None:
        super().__init__(*args)
        self.hint = hint

    @property
    def message(self) -> str:
        """What failed and why, without the hint."""
        return super().__str__()

    def __str__(self) -> str:
        return with_hint(self.message, self.hint)


def short_traceback(call: Callable[P, T]) -> Callable[P, T]:
    """Let errors of this package begin where the user calls `call`.

    Their messages hold all that is known; frames of ours would only hide them.
    """

    @functools.wraps(call)
    def public(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except GridEngineError as exc:
            raise exc.with_traceback(None) from None

    return public


class OptionError(GridEngineError, ValueError):
    """An option's value is invalid; the message names the option and valid values."""

    def prefixed(self, where: str) -> OptionError:
        """Return the same error with the place of the option before it."""
        return type(self)(f"{where}: {self.message}", hint=self.hint)


class UnknownOption(OptionError, TypeError):
    """An option has an unknown name; the message suggests one."""


class MessageError(GridEngineError):
    """Bytes that are not a bootstrap message of this version."""


class LauncherError(GridEngineError):
    """The launcher could not do what was requested."""


class LauncherUnavailable(LauncherError):
    """This launcher does not work here; nothing was started.

    Parameters
    ----------
    launcher
        Its name, e.g. ``"drmaa"``.
    reason
        What is missing, in a clause.
    hint
        What to type next.
    """

    def __init__(self, launcher: str, reason: str, hint: str) -> None:
        super().__init__(launcher, reason, hint, hint=hint)
        self.launcher, self.reason = launcher, reason

    @property
    def message(self) -> str:
        return f"the {self.launcher} launcher is not available: {self.reason}"


class SubmitError(LauncherError):
    """The grid refused the array; nothing was queued.

    Parameters
    ----------
    reason
        The grid's message.
    count
        How many nodes were requested.
    native
        The submit options; None for a launcher that takes none.
    check
        The command with which the grid says which option is wrong; "" is unknown.
    """

    def __init__(
        self, reason: str, count: int, native: str | None, check: str = ""
    ) -> None:
        super().__init__(reason, count, native, check)
        self.reason, self.count, self.native = reason, count, native
        self.check = check
        if native is not None:
            self.hint = (
                f"`{check}` shows which option is wrong"
                if check
                else "check queue, project, resource_spec, parallel_environment and"
                " job_extra_directives"
            )

    @property
    def message(self) -> str:
        reason = self.reason.strip()
        if self.native is None:
            return f"the array was refused, nothing was queued: {reason}"
        return (
            f"the grid refused the array, nothing was queued: {reason}\n"
            f"  requested: {plural(self.count, 'node')} with"
            f" {self.native or '(no options)'}"
        )


class GridFull(SubmitError):
    """The grid accepts no more jobs for now; the same may be accepted later."""

    def __init__(
        self, reason: str, count: int, native: str | None, check: str = ""
    ) -> None:
        super().__init__(reason, count, native, check)
        self.hint = ""

    @classmethod
    def matches(cls, reason: str) -> bool:
        """Whether a refusal means ``max_u_jobs``, ``maxujobs`` or ``max_jobs``.

        Son of Grid Engine 8.1.9 says "job rejected: only 3 jobs are allowed per user
        (current job count: 3)", the Open Cluster Scheduler "Only". An array counts as
        one job.
        """
        return re.search(r"only \d+ jobs are allowed", reason, re.I) is not None

    @property
    def message(self) -> str:
        return f"the grid accepts no more jobs for now: {self.reason.strip()}"


class ArrayTooLarge(SubmitError):
    """The grid refuses an array with this many nodes (``max_aj_tasks``).

    Parameters
    ----------
    reason, count, native, check
        See `SubmitError`.
    limit
        The most nodes that an array may have.
    """

    def __init__(
        self,
        reason: str,
        count: int,
        native: str | None,
        check: str = "",
        limit: int = 0,
    ) -> None:
        super().__init__(reason, count, native, check)
        self.args = (reason, count, native, check, limit)
        self.limit = limit


class DrmCommunicationError(LauncherError):
    """The grid's master does not answer, which says nothing about running nodes."""


class BootstrapError(GridEngineError):
    """A node could not get its allocation; the message says what it tried."""


class ClusterNotRunning(GridEngineError, RuntimeError):
    """A cluster is closed, has not started, or is another process's.

    Parameters
    ----------
    cluster
        Its name.
    status
        As Dask names it: ``"created"``, ``"starting"``, ``"closing"``, ``"closed"``;
        or ``"forked"`` in a fork of its process.
    """

    def __init__(self, cluster: str, status: str) -> None:
        super().__init__(cluster, status)
        self.cluster, self.status = cluster, status
        self.hint = "make a new GridEngineCluster"
        if status in ("created", "starting"):
            self.hint = "`await` the cluster first, or use it in `async with`"
        elif status == "forked":
            self.hint = f"dask_gridengine.connect({cluster!r}) in a process that was"
            self.hint += " started by multiprocessing.get_context('spawn')"

    @property
    def message(self) -> str:
        new = "has not started"
        states = {
            "created": new,
            "starting": new,
            "closing": "is closing",
            "forked": "belongs to another process, of which this one is a fork",
        }
        return f"{self.cluster} {states.get(self.status, 'is closed')}"


class NoAnswer(GridEngineError):
    """A cluster did not answer a control request.

    Parameters
    ----------
    cluster
        Its name.
    tried
        Each of its bootstrap addresses, with what happened there.
    """

    def __init__(self, cluster: str, tried: Mapping[str, str]) -> None:
        super().__init__(cluster, dict(tried))
        self.cluster, self.tried = cluster, dict(tried)
        self.hint = "dask gridengine ps shows whether its process still runs"

    @property
    def message(self) -> str:
        tried = ", ".join(f"{where}: {what}" for where, what in self.tried.items())
        return f"{self.cluster} did not answer ({tried})"


class NodesFailed(GridEngineError):
    """The workers will not start: nodes fail, were deleted, or cannot run at once.

    Parameters
    ----------
    wanted
        Workers that were waited for.
    alive
        Workers that are running.
    reasons
        One sentence for each different reason, most frequent first.
    """

    def __init__(self, wanted: int, alive: int, reasons: Sequence[str]) -> None:
        super().__init__(wanted, alive, tuple(reasons))
        self.wanted, self.alive, self.reasons = wanted, alive, tuple(reasons)

    @property
    def message(self) -> str:
        # Each reason may end with a hint of its own.
        head = (
            f"waited for {plural(self.wanted, 'worker')}, have {self.alive};"
            " the others will not start:"
        )
        more = len(self.reasons) - REASONS_SHOWN
        rest = f" (cluster.explain() has {more} more)" if more > 0 else ""
        shown = "\n".join(f"  {reason}" for reason in self.reasons[:REASONS_SHOWN])
        return f"{head[:-1]}{rest}:\n{shown}"


class ModuleMissing(GridEngineError, ModuleNotFoundError):
    """A node cannot import a module that a task needs to be unpickled there.

    Parameters
    ----------
    module
        Its name.
    host
        The node's host.
    python
        The node's Python.
    path
        The module's file at the client; "" if it is not known.
    there
        Whether the node's host has a file of that path, too.
    """

    def __init__(
        self,
        module: str,
        host: str,
        python: str,
        path: str = "",
        there: bool = False,
    ) -> None:
        super().__init__(module, host, python, path, there)
        self.name, self.host, self.python = module, host, python
        self.path, self.there = path, there
        if not path:
            self.hint = f"install it for {python}"
        elif there:
            self.hint = (
                "extend sys.path before the nodes start (cluster.scale(0), then"
                " cluster.scale(n), starts new ones)"
            )
        else:
            self.hint = (
                f"keep it on a file system that the nodes see, install it for {python},"
                " or send it to the workers with client.upload_file(...)"
            )

    @property
    def message(self) -> str:
        failed = f"No module named {self.name!r} on {self.host}"
        if not self.path:
            return failed
        failed += f"\n  the client has it at {self.path}"
        if not self.there:
            return f"{failed}, {self.host} does not"
        return (
            f"{failed}; {self.host} has that file, too, but its directory was not in"
            " the client's sys.path when the node started"
        )


class Unsatisfiable(GridEngineError):
    """No kind of node has what a task requires (``resources=``).

    Parameters
    ----------
    required
        Resource to the amount that the task needs.
    offers
        Pool to what each of its workers has; "" where there is only one kind.
    tasks
        Keys of tasks that require it.
    """

    def __init__(
        self,
        required: Mapping[str, float],
        offers: Mapping[str, Mapping[str, float]],
        tasks: Sequence[str],
    ) -> None:
        super().__init__(required, offers, tuple(tasks))
        self.required, self.offers, self.tasks = required, offers, tuple(tasks)
        self.hint = f"require less, or give a pool resources={dict(required)}"

    @property
    def message(self) -> str:
        count = len(self.tasks)
        subject = (
            f"{count} tasks (e.g. {self.tasks[0]!r}) require"
            if count > 1
            else f"{self.tasks[0]} requires"
        )
        offers = "; ".join(
            f"{pool or 'its workers'}: {listed(offer)}"
            for pool, offer in self.offers.items()
        )
        return (
            f"{subject} {listed(self.required)}, which no node of this cluster has:"
            f" {offers}"
        )
