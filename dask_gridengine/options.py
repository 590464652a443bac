"""Settings: from the caller, Dask's config or gridengine.yaml, resolved once.

`Options` holds one field per key of ``gridengine.yaml``, checked and in one unit each
(bytes, seconds). Nothing else in the package reads Dask's config for a setting.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import dask
from dask.utils import format_bytes
from distributed.security import Security

from dask_gridengine import option_parsing as readings
from dask_gridengine.batch import DIALECTS
from dask_gridengine.dask_config import is_plain
from dask_gridengine.errors import OptionError
from dask_gridengine.net.addresses import host_and_port
from dask_gridengine.net.ports import Ports
from dask_gridengine.option_defaults import configured, default
from dask_gridengine.walltime_parsing import parse_walltime

#: Bytes that an idle worker takes (50 to 60 MB, measured) at no more than 80 % of its
#: limit: above that Dask pauses it.
LEAST_MEMORY = 80_000_000

#: Options that a pool cannot have for itself.
OF_CLUSTER = frozenset(
    (
        "name",
        "pools",
        "launcher",
        "dialect",
        "shared_directory",
        "scheduler_port",
        "dashboard_port",
        "scheduler_options",
        "security",
    )
)

#: Options of one word or line, which None leaves out.
_TEXTS = (
    "launcher",
    "dialect",
    "queue",
    "project",
    "resource_spec",
    "parallel_environment",
    "memory_resource",
    "local_directory",
    "interface",
    "host",
    "contact_address",
    "bootstrap_contact_address",
    "worker_interface",
)


#: Options of dask-jobqueue that have another name here, or none, and what to do.
OF_JOBQUEUE = {
    "account": "use project=",
    "cancel_command_extra": "jobs are cancelled through DRMAA, without a command",
    "config_name": "settings are read from 'gridengine' in Dask's configuration",
    "dashboard_address": (
        "use dashboard_port=, or scheduler_options={'dashboard_address': ...}"
    ),
    "env_extra": "use environment={'NAME': 'value'}, or job_script_prologue=[...]",
    "extra": "use resources= or worker_options={...}",
    "header_skip": "there is no script with a header: leave out the option itself",
    "job_cpu": "use cores=",
    "job_directives_skip": "there is no header: leave out the option itself",
    "job_extra": "use job_extra_directives=[...]",
    "job_mem": "use memory=, and memory_resource= to request it of the grid",
    "job_script_epilogue": (
        "no line runs after Python; use teardown() of a distributed.WorkerPlugin"
    ),
    "protocol": "TLS is on by default; security=False turns it off",
    "scheduler_cls": "the scheduler's class is fixed; use scheduler_options={...}",
    "shared_temp_directory": "use shared_directory=",
    "shebang": "use python= and job_script_prologue=[...]",
    "submit_command_extra": "use job_extra_directives=[...]",
    "worker_command": "use worker_options={...}",
    "worker_extra_args": (
        "use resources={'GPU': 1} for '--resources GPU=1', and worker_options={...} for"
        " other arguments of a worker"
    ),
}

#: Options that were there once, and what replaces each.
REMOVED = {
    "bundle_imports": (
        "nodes import from where the packages are installed; docs/scaling.md says what"
        " helps a slow file server"
    ),
    "head_start": "nodes of one host import at the same time",
    "task_soft_limit": "the dashboard shows how long each task has been running",
    "task_hard_limit": (
        "a thread cannot be ended from outside: let the function end itself, or run it"
        " in a process that it can kill (subprocess.run(..., timeout=))"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user asked for; the comments are in ``gridengine.yaml``."""

    name: str
    jobs: int
    launcher: str | None
    dialect: str | None
    slots: int | None
    cores: int  # of a node
    processes: int  # workers of a node
    memory: int | None  # bytes of a node; 0 is no limit, None its share of the host
    memory_resource: str | None
    memory_resource_per: str
    walltime: float | None  # seconds
    queue: str | None
    project: str | None
    resource_spec: str | None
    parallel_environment: str | None
    job_extra_directives: tuple[str, ...]
    max_jobs: int | None
    max_queued_jobs: int | None
    array_concurrency: int | None
    python: str
    job_script_prologue: tuple[str, ...]
    environment: dict[str, str]
    nanny: bool
    start_method: str
    worker_options: dict[str, Any]
    resources: dict[str, float]  # Dask's, of each worker
    local_directory: str | None
    shared_directory: Path
    log_directory: Path | None
    interface: str | None
    host: str | None
    contact_address: str | None
    bootstrap_contact_address: str | None
    scheduler_port: Ports | None
    bootstrap_port: Ports | None
    dashboard_port: Ports | None
    worker_interface: str | None
    worker_port: Ports | None
    nanny_port: Ports | None
    scheduler_options: dict[str, Any]
    security: Security | bool
    max_importing: int
    death_timeout: float
    drain_timeout: float
    drain_before_walltime: bool
    finish_timeout: float
    idle_grace: float
    place_grace: float
    suspended_timeout: float | None  # seconds
    close_timeout: float
    pools: dict[str, Options]  # kinds of nodes by name; none where there is only one

    @classmethod
    def names(cls) -> list[str]:
        """Every option there is."""
        return [field.name for field in fields(cls)]

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> Options:
        """Take each option from `given`, Dask's config or ``gridengine.yaml``.

        Parameters
        ----------
        given
            Option to value; None counts as not given.

        Raises
        ------
        TypeError
            If there is no such option; the message lists those there are.
        OptionError
            If a value makes no sense.
        """
        refuse_unknown(given, cls.names())
        raw = {
            name: configured(name.replace("_", "-"), given.get(name))
            for name in cls.names()
        }
        checked = {**_texts(raw), **_numbers(raw), **_places(raw), **_network(raw)}
        own = given.get("cores") is not None or raw["cores"] != default("cores")
        checked.update(_directive_pe(checked, checked["cores"] if own else None))
        checked["pools"] = cls._pools(given, raw, checked["name"])
        options = cls(**{**raw, **checked})
        options._refuse_crowding()
        options._refuse_too_little_memory()
        return options

    @classmethod
    def _pools(
        cls, given: Mapping[str, Any], raw: Mapping[str, Any], name: str
    ) -> dict[str, Options]:
        """Each pool's options: its own, or else those of the cluster."""
        pools = {}
        for pool, own in readings.pools(raw).items():
            for option in own:
                if option.replace("-", "_") in OF_CLUSTER:
                    raise OptionError(
                        f"pools: {pool} has {option!r}, which is the whole cluster's:"
                        " give it beside pools="
                    )
            own = {option.replace("-", "_"): value for option, value in own.items()}
            # The name tells the pools apart in qstat, and in the shared directory.
            of_pool = {"jobs": 0, **own, "name": f"{name}-{pool}", "pools": {}}
            try:
                pools[pool] = cls.resolve({**given, **of_pool})
            except OptionError as exc:
                raise OptionError(f"pool {pool}: {exc}") from None
        return pools

    @property
    def offered(self) -> dict[str, float]:
        """Dask's resources of each worker, wherever they are said."""
        return {
            **(dask.config.get("distributed.worker.resources", {}) or {}),
            **self.resources,
            **(self.worker_options.get("resources") or {}),
        }

    @property
    def threads(self) -> int:
        """Threads of each worker, where the grid grants what is asked for."""
        return self.cores // self.processes

    def nodes(self, workers: int) -> int:
        """How many nodes have so many workers."""
        return -(-workers // self.processes)

    def _refuse_too_little_memory(self) -> None:
        least = LEAST_MEMORY * self.processes
        if self.memory and self.memory < least:
            raise OptionError(
                f"memory={self.memory} is {format_bytes(self.memory)}: with"
                f" processes={self.processes} a node needs {format_bytes(least)} at"
                " least to start\n"
                "  Hint: write the unit, e.g. memory='8 GB'"
            )

    def _refuse_crowding(self) -> None:
        if self.processes > self.cores:
            raise OptionError(
                f"processes={self.processes} of cores={self.cores}: each worker needs a"
                f" slot at least; ask for cores={self.processes} or more"
            )
        if self.processes > 1 and not self.nanny:
            raise OptionError(
                f"processes={self.processes} need a Nanny each: nanny=False starts the"
                " worker in the node's own process"
            )


def refuse_unknown(
    given: Mapping[str, Any], names: Sequence[str], taker: str = "GridEngineCluster"
) -> None:
    """Raise TypeError for the first name in `given` that is not one of `names`."""
    if unknown := [name for name in given if name not in names]:
        if advice := OF_JOBQUEUE.get(unknown[0]):
            raise TypeError(f"{taker} has no option {unknown[0]!r}: {advice}")
        if why := REMOVED.get(unknown[0]):
            raise TypeError(f"the option {unknown[0]!r} was removed: {why}")
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise TypeError(
            f"{taker} has no option {unknown[0]!r}{hint}; there are:"
            f" {', '.join(sorted(names))}"
        )


def _texts(raw: Mapping[str, Any]) -> dict[str, Any]:
    name = readings.text(raw, "name") or f"dask-{secrets.token_hex(4)}"
    # Grid Engine's rule for job names (man 1 qsub, -N), and it names a directory too.
    if not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", name, re.ASCII):
        raise OptionError(
            f"name={name!r} cannot be a job's name: begin with a letter, go on with"
            " letters, digits, '.', '_' or '-', 64 at most"
        )
    readings.one_of(raw, "memory_resource_per", ("slot", "job"))
    readings.one_of(raw, "start_method", ("fork", "spawn"))
    readings.one_of(raw, "dialect", (None, *DIALECTS))
    environment = readings.mapping(raw, "environment")
    worker_options = readings.mapping(raw, "worker_options")
    for key, value in worker_options.items():
        if not is_plain({key: value}):
            raise OptionError(
                f"worker_options: {key}={value!r} cannot be sent to a node; it takes"
                " text, numbers, lists and dicts, and a class by its full name"
            )
    return {
        **{option: readings.text(raw, option) for option in _TEXTS},
        "name": name,
        "job_extra_directives": readings.lines(raw, "job_extra_directives"),
        "job_script_prologue": readings.lines(raw, "job_script_prologue"),
        "python": readings.text(raw, "python") or sys.executable,
        "environment": {str(key): str(value) for key, value in environment.items()},
        "nanny": readings.flag(raw, "nanny"),
        "drain_before_walltime": readings.flag(raw, "drain_before_walltime"),
        "worker_options": worker_options,
        "resources": readings.resources(raw),
        "scheduler_options": readings.mapping(raw, "scheduler_options"),
    }


def _directive_pe(checked: Mapping[str, Any], cores: int | None) -> dict[str, Any]:
    """A ``-pe`` among the directives, as the options that it stands for.

    Parameters
    ----------
    checked
        The other options.
    cores
        Those of a node, if they were given.
    """
    directives = "\n".join(checked["job_extra_directives"])
    found = re.findall(r"(?<!\S)-pe[ \t]+(\S+)[ \t]+(\S+)", directives)
    if not found:
        return {}
    said = "job_extra_directives: " + ", ".join(f"'-pe {a} {b}'" for a, b in found)
    name, slots = found[0]
    if len(found) > 1 or checked["parallel_environment"] not in (None, name):
        raise OptionError(f"{said}: a node has one parallel_environment")
    if not slots.isdigit() or not int(slots):
        raise OptionError(f"{said}: give a number of slots, the same for each node")
    if cores is not None and cores != int(slots):
        raise OptionError(
            f"{said}, but cores={cores}: a node has as many cores as slots. Give"
            f" cores={slots}, and worker_options={{'nthreads': {cores}}} if its worker"
            " is to run fewer tasks at once"
        )
    rest = re.sub(r"(?<!\S)-pe[ \t]+\S+[ \t]+\S+[ \t]*", "", directives)
    return {
        "parallel_environment": name,
        "cores": int(slots),
        "job_extra_directives": tuple(line for line in rest.split("\n") if line),
    }


def _numbers(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "jobs": readings.whole(raw, "jobs", least=0),
        **{
            name: None if raw[name] is None else readings.whole(raw, name, least=1)
            for name in ("slots", "max_jobs", "max_queued_jobs", "array_concurrency")
        },
        "cores": readings.whole(raw, "cores", least=1),
        "processes": readings.whole(raw, "processes", least=1),
        "memory": None if raw["memory"] is None else readings.size(raw, "memory"),
        "walltime": parse_walltime(raw["walltime"]),
        "suspended_timeout": (
            None
            if raw["suspended_timeout"] is None
            else readings.seconds(raw, "suspended_timeout")
        ),
        "max_importing": readings.whole(raw, "max_importing", least=1),
        **{
            name: readings.seconds(raw, name)
            for name in (
                "death_timeout",
                "drain_timeout",
                "finish_timeout",
                "idle_grace",
                "place_grace",
                "close_timeout",
            )
        },
    }


def _places(raw: Mapping[str, Any]) -> dict[str, Any]:
    def place(name: str) -> Path | None:
        text = readings.text(raw, name)
        if text is None:
            return None
        return Path(os.path.expandvars(text)).expanduser().absolute()

    shared = place("shared_directory")
    if shared is None:
        raise OptionError("shared_directory must be a directory that the nodes see")
    # Not local_directory: that is a place on the nodes, and expanded there.
    return {"shared_directory": shared, "log_directory": place("log_directory")}


def _network(raw: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("contact_address", "bootstrap_contact_address"):
        if (told := readings.text(raw, name)) is not None:
            host_and_port(told, name)
    return {
        name: Ports.parse(raw[name], name)
        for name in (
            "scheduler_port",
            "bootstrap_port",
            "dashboard_port",
            "worker_port",
            "nanny_port",
        )
    }
