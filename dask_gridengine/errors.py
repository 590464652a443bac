"""Everything this package raises on purpose.

::

    GridEngineError
     |- OptionError            an option's value makes no sense (also a ValueError)
     |- MessageError           received bytes are not a valid message
     |- LauncherError          the launcher could not do what was asked
     |   |- LauncherUnavailable   there is no such launcher here; nothing was started
     |   |- SubmitError           the grid refused the array; nothing was queued
     |   |   |- GridFull          ... for now: this user has as many jobs as may be
     |   |   `- ArrayTooLarge     ... as one array: it has to be several
     |   `- DrmCommunicationError the grid does not answer; nothing is known
     |- BootstrapError         a node found no way to its allocation
     |- ClusterNotRunning      it is closed or has not started (also a RuntimeError)
     |- NoAnswer               a cluster did not answer its user's question
     |- NodesFailed            nodes ended before they became workers
     |- ModuleMissing          a node has not what a task imports (also an ImportError)
     |- Unsatisfiable          a task requires what no kind of nodes has

An unknown option name is a plain TypeError, as for any Python function.

Every one survives pickling: ``Exception.args`` hold what ``__init__`` takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


class GridEngineError(Exception):
    """Base of all errors of this package."""


class OptionError(GridEngineError, ValueError):
    """An option's value makes no sense; the message names it and what would."""


class MessageError(GridEngineError):
    """Bytes that are not a bootstrap message of this version."""


class LauncherError(GridEngineError):
    """The launcher could not do what was asked."""


class LauncherUnavailable(LauncherError):
    """This launcher cannot be had here; nothing was started.

    Parameters
    ----------
    launcher
        Its name, e.g. ``"drmaa"``.
    reason
        What was missing, in a clause.
    advice
        What to type next.
    """

    def __init__(self, launcher: str, reason: str, advice: str) -> None:
        super().__init__(launcher, reason, advice)
        self.launcher, self.reason, self.advice = launcher, reason, advice

    def __str__(self) -> str:
        return (
            f"the {self.launcher} launcher cannot be had here: {self.reason}\n"
            f"  what to do: {self.advice}"
        )


class SubmitError(LauncherError):
    """The grid refused the array; nothing was queued.

    Parameters
    ----------
    reason
        The grid's own words.
    count
        How many nodes were asked for.
    native
        The submit options they were asked for with; None where the launcher is no
        grid and takes none.
    check
        What to type to have the grid say which of them it is; "" is unknown.
    """

    def __init__(
        self, reason: str, count: int, native: str | None, check: str = ""
    ) -> None:
        super().__init__(reason, count, native, check)
        self.reason, self.count, self.native = reason, count, native
        self.check = check

    def __str__(self) -> str:
        reason = self.reason.strip()
        if self.native is None:
            return f"the array was refused, nothing was queued: {reason}"
        return (
            f"the grid refused the array, nothing was queued: {reason}\n"
            f"  asked for: {self.count} nodes with {self.native or '(no options)'}\n"
            + (f"  to check:  {self.check}\n" if self.check else "")
            + "  to change: the options queue, project, resource_spec,"
            " parallel_environment, job_extra_directives, jobs of GridEngineCluster"
            " or the same keys under gridengine: in Dask's config"
        )


class GridFull(SubmitError):
    """The grid takes no more jobs for now; the same may go through later."""

    @classmethod
    def is_meant(cls, reason: str) -> bool:
        """Whether a refusal speaks of ``max_u_jobs``, ``maxujobs`` or ``max_jobs``.

        Source: Son of Grid Engine 8.1.9, which says "job rejected: only 3 jobs are
        allowed per user (current job count: 3)". It counts an array as one job.
        """
        return re.search(r"only \d+ jobs are allowed", reason) is not None

    def __str__(self) -> str:
        return f"the grid takes no more jobs for now: {self.reason.strip()}"


class ArrayTooLarge(SubmitError):
    """The grid wants no array of so many nodes (``max_aj_tasks``).

    Parameters
    ----------
    reason, count, native, check
        See `SubmitError`.
    limit
        The most nodes an array may have.
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
    """The grid's master does not answer. That says nothing about running nodes."""


class BootstrapError(GridEngineError):
    """A node found no way to its allocation; the message says what it tried."""


class ClusterNotRunning(GridEngineError, RuntimeError):
    """A cluster is closed, or has not started, and what was asked needs a running one.

    Parameters
    ----------
    cluster
        Its name.
    status
        As Dask has it: ``"created"``, ``"starting"``, ``"closing"``, ``"closed"``.
    """

    def __init__(self, cluster: str, status: str) -> None:
        super().__init__(cluster, status)
        self.cluster, self.status = cluster, status

    def __str__(self) -> str:
        if self.status in ("created", "starting"):
            hint = "`await` the cluster first, or use it in `async with`"
            return f"{self.cluster} has not started\n  Hint: {hint}"
        state = "closing" if self.status == "closing" else "closed"
        return f"{self.cluster} is {state}\n  Hint: make a new GridEngineCluster"


class NoAnswer(GridEngineError):
    """A cluster did not answer its user's question.

    Parameters
    ----------
    cluster
        Its name.
    tried
        Each address of its door, with what it answered.
    """

    def __init__(self, cluster: str, tried: Mapping[str, str]) -> None:
        super().__init__(cluster, dict(tried))
        self.cluster, self.tried = cluster, dict(tried)

    def __str__(self) -> str:
        answers = ", ".join(
            f"{address}: {said}" for address, said in self.tried.items()
        )
        return f"{self.cluster} did not answer ({answers})"


class NodesFailed(GridEngineError):
    """Nodes fail alike, were taken away, or cannot run at once: they will not come.

    Parameters
    ----------
    wanted
        Workers that were waited for.
    alive
        Workers there are.
    reasons
        One sentence for each different end, most frequent first.
    """

    def __init__(self, wanted: int, alive: int, reasons: Sequence[str]) -> None:
        super().__init__(wanted, alive, tuple(reasons))
        self.wanted, self.alive, self.reasons = wanted, alive, tuple(reasons)

    def __str__(self) -> str:
        head = (
            f"waited for {self.wanted} workers, have {self.alive},"
            " and that many will not come:"
        )
        return "\n".join([head, *(f"  {reason}" for reason in self.reasons)])


class ModuleMissing(GridEngineError, ModuleNotFoundError):
    """A node cannot import a module that a task needs to be unpickled there.

    Parameters
    ----------
    module
        Its name.
    host
        Where it is missing.
    python
        The Python there.
    path
        The module's file at the client; "" if it is not known.
    there
        Whether a file of that path exists on the host, too.
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

    def __str__(self) -> str:
        lines = [f"No module named {self.name!r} on {self.host}"]
        if not self.path:
            lines.append(f"  Hint: install it for {self.python}")
        elif self.there:
            lines += [
                f"  the client has it at {self.path}; that file is on {self.host}, too,"
                " but its directory was not in the client's sys.path when the node"
                " started",
                "  Hint: extend sys.path before the nodes start (cluster.scale(0),"
                " then cluster.scale(n), starts new ones)",
            ]
        else:
            lines += [
                f"  the client has it at {self.path}, which is not on {self.host}",
                "  Hint: keep it on a file system that the nodes see, install it for"
                f" {self.python}, or send it to the workers with"
                " client.upload_file(...)",
            ]
        return "\n".join(lines)


class Unsatisfiable(GridEngineError):
    """No kind of node has what a task requires (``resources=``).

    Parameters
    ----------
    required
        Resource to how much of it the task needs.
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

    def __str__(self) -> str:
        count = len(self.tasks)
        who = f"{count} tasks (e.g. {self.tasks[0]!r})" if count > 1 else self.tasks[0]
        verb = "require" if count > 1 else "requires"
        have = "; ".join(
            f"{pool or 'its workers'}: {listed(offer)}"
            for pool, offer in self.offers.items()
        )
        return (
            f"{who} {verb} {listed(self.required)}, which no node of this cluster has:"
            f" {have}. Ask for less, or give a pool resources="
            f"{dict(self.required)}"
        )


def listed(amounts: Mapping[str, float]) -> str:
    """Resources for people, e.g. "GPU 1, BIG 2"."""
    return ", ".join(f"{k} {v:g}" for k, v in amounts.items()) or "nothing"
