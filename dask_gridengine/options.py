"""Options of a cluster: given, or from Dask's configuration, or the default.

`Options` has one field for each key of ``gridengine.yaml``, which describes them.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import dask
from distributed.security import Security

from dask_gridengine import option_parsing as parse
from dask_gridengine.batch.commands import run_command
from dask_gridengine.batch.sge.qconf import charged_per
from dask_gridengine.dask_config import configured, default, is_plain
from dask_gridengine.errors import OptionError
from dask_gridengine.formatting import format_size
from dask_gridengine.launchers.base import KINDS
from dask_gridengine.net.addresses import host_and_port
from dask_gridengine.net.ports import Ports
from dask_gridengine.unknown_options import refuse_unknown, refuse_unknown_keys

#: Bytes that a worker needs at least. An idle worker takes 50 to 60 MB (measured), and
#: Dask pauses it above 80 % of its limit.
LEAST_MEMORY = 80_000_000
CLOSE_TIMEOUT = 30.0  # seconds
#: How much longer adapt() keeps a queued job than an idle node.
QUEUED_FACTOR = 60

#: Options that a pool cannot have for itself.
OF_CLUSTER = frozenset(
    (
        "name",
        "pools",
        "launcher",
        "shared_directory",
        "scheduler_port",
        "dashboard_port",
        "scheduler_options",
        "security",
    )
)


def _name(value: Any, name: str) -> str:
    found = parse.text(value, name) or f"dask-{secrets.token_hex(4)}"
    # Grid Engine's rule for job names (man 1 qsub, -N); the name is a directory, too.
    if not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", found, re.ASCII):
        raise OptionError(
            f"{name}={found!r} cannot be the name of a job: expected a letter, then"
            " letters, digits, '.', '_' or '-', at most 64 in all"
        )
    return found


def _launcher(value: Any, name: str) -> str | None:
    if value not in (None, *KINDS):
        raise OptionError(
            f"{name}={value!r}: expected one of {', '.join(map(repr, KINDS))}",
            hint="without it nodes are jobs where a grid is configured (Slurm's, too),"
            " and else local processes",
        )
    return parse.text(value, name)


def _python(value: Any, name: str) -> str:
    return parse.text(value, name) or sys.executable


def _worker_options(value: Any, name: str) -> dict[str, Any]:
    found = parse.mapping(value, name)
    for key, item in found.items():
        if not is_plain({key: item}):
            raise OptionError(
                f"{name}: {key}={item!r} cannot be sent to a node: expected text,"
                " numbers, lists and dicts, and a class by its full name"
            )
    return found


def _contact_address(value: Any, name: str) -> str | None:
    if (address := parse.text(value, name)) is not None:
        host_and_port(address, name)
    return address


def _shared_directory(value: Any, name: str) -> Path:
    if (path := parse.directory(value, name)) is None:
        raise OptionError(f"{name} must be a directory that the nodes see")
    return path


def _unless_none(parser: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, name: None if value is None else parser(value, name)


_at_least_1 = partial(parse.whole, least=1)

# Types of options, each with its parser.
Text = Annotated[str | None, parse.text]
Lines = Annotated[tuple[str, ...], parse.lines]
Flag = Annotated[bool, parse.flag]
Count = Annotated[int, _at_least_1]
Limit = Annotated[int | None, _unless_none(_at_least_1)]
Size = Annotated[int | None, _unless_none(parse.size)]  # bytes
Seconds = Annotated[float, parse.seconds]
MaybeSeconds = Annotated[float | None, _unless_none(parse.seconds)]
Port = Annotated[Ports | None, Ports.parse]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checked options; ``gridengine.yaml`` describes each."""

    name: Annotated[str, _name]
    jobs: Annotated[int, partial(parse.whole, least=0)]
    launcher: Annotated[str | None, _launcher]
    slots: Limit
    cores: Count  # of a node
    processes: Count  # workers of a node
    memory: Size  # of a node; 0: no limit, None: its share of the host
    memory_resource: Text
    walltime: MaybeSeconds
    queue: Text
    project: Text
    resource_spec: Text
    parallel_environment: Text
    job_extra_directives: Lines
    max_jobs: Limit
    max_queued_jobs: Limit
    python: Annotated[str, _python]
    job_script_prologue: Lines
    environment: Annotated[dict[str, str], parse.strings]
    nanny: Flag
    worker_options: Annotated[dict[str, Any], _worker_options]
    resources: Annotated[dict[str, float], parse.resources]  # Dask's, of each worker
    local_directory: Text  # expanded on the nodes
    shared_directory: Annotated[Path, _shared_directory]
    log_directory: Annotated[Path | None, parse.directory]
    interface: Text
    host: Text
    contact_address: Annotated[str | None, _contact_address]
    scheduler_port: Port
    bootstrap_port: Port
    dashboard_port: Port
    worker_interface: Text
    worker_port: Port
    scheduler_options: Annotated[dict[str, Any], parse.mapping]
    security: Annotated[Security | bool, lambda value, name: value]
    max_importing: Count
    death_timeout: Seconds
    drain_timeout: Seconds
    drain_before_walltime: Flag
    finish_timeout: Seconds
    idle_grace: Seconds
    suspended_timeout: MaybeSeconds
    pools: Annotated[dict[str, Options], parse.pools]  # empty: all nodes are alike

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all options."""
        return [each.name for each in fields(cls)]

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> Options:
        """Take each option from `given`, Dask's config or ``gridengine.yaml``.

        None in `given` counts as not given. Raises `UnknownOption` if there is no such
        option, also in Dask's configuration, and `OptionError` if a value is invalid.
        """
        refuse_unknown(given, cls.names())
        refuse_unknown_keys()
        raw = {
            name: configured(name.replace("_", "-"), given.get(name))
            for name in cls.names()
        }
        types = get_type_hints(cls, include_extras=True)
        found = {
            name: types[name].__metadata__[0](value, name)
            for name, value in raw.items()
        }
        has_cores = given.get("cores") is not None or raw["cores"] != default("cores")
        found |= _parallel_environment(found, found["cores"] if has_cores else None)
        found["pools"] = {
            pool: cls._of_pool(given, pool, f"{found['name']}-{pool}", own)
            for pool, own in found["pools"].items()
        }
        options = cls(**found)
        options._check_processes()
        options._check_memory()
        return options

    @classmethod
    def _of_pool(
        cls, given: Mapping[str, Any], pool: str, name: str, own: Mapping[str, Any]
    ) -> Options:
        """A pool has its own options, and else those of the cluster."""
        own = {option.replace("-", "_"): value for option, value in own.items()}
        if misplaced := sorted(OF_CLUSTER.intersection(own)):
            raise OptionError(
                f"pools: {pool} has {misplaced[0]!r}, which is of the whole cluster",
                hint="give it beside pools=",
            )
        try:
            # The name tells the pools apart in qstat and in the shared directory.
            return cls.resolve({**given, "jobs": 0, **own, "name": name, "pools": {}})
        except OptionError as exc:
            raise exc.prefixed(f"pool {pool}") from None

    @property
    def offered(self) -> dict[str, float]:
        """Dask's resources of each worker; options count more than Dask's config."""
        return {
            **(dask.config.get("distributed.worker.resources", {}) or {}),
            **self.resources,
            **(self.worker_options.get("resources") or {}),
        }

    @property
    def threads(self) -> int:
        """Threads of each worker, if the grid grants what is requested."""
        given = parse.integer(self.worker_options.get("nthreads"))
        return given or self.cores // self.processes

    @property
    def place_grace(self) -> float:
        """Seconds that adapt() keeps a queued job that is not needed."""
        return QUEUED_FACTOR * self.idle_grace

    @property
    def close_timeout(self) -> float:
        """Seconds that close() waits for a node that does not answer."""
        return min(CLOSE_TIMEOUT, self.drain_timeout)

    @cached_property
    def memory_resource_per(self) -> str:
        """What the grid charges `memory_resource` for: "slot", "job" or "host".

        Runs ``qconf -sc`` once, if it matters; "slot" if that fails.
        """
        if not self.memory_resource or self.cores == 1:
            return "slot"
        return charged_per(self.memory_resource, run_command) or "slot"

    def nodes(self, workers: int) -> int:
        """Return how many nodes have this many workers."""
        return -(-workers // self.processes)

    def _check_memory(self) -> None:
        least = LEAST_MEMORY * self.processes
        if self.memory and self.memory < least:
            raise OptionError(
                f"memory={self.memory} is {format_size(self.memory)}: with"
                f" processes={self.processes} a node needs at least"
                f" {format_size(least)} to start",
                hint="write the unit, e.g. memory='8 GB'",
            )

    def _check_processes(self) -> None:
        if self.processes > self.cores:
            raise OptionError(
                f"processes={self.processes} need as many cores, not"
                f" cores={self.cores}",
                hint=f"cores={self.processes} or more",
            )
        if self.processes > 1 and not self.nanny:
            raise OptionError(
                f"processes={self.processes} need a Nanny each: nanny=False starts the"
                " worker in the node's own process"
            )


def _parallel_environment(
    found: Mapping[str, Any], cores: int | None
) -> dict[str, Any]:
    """Replace a ``-pe`` among the directives by the options that it stands for.

    `cores` are those of a node if they were given.
    """
    directives = "\n".join(found["job_extra_directives"])
    requests = re.findall(r"(?<!\S)-pe[ \t]+(\S+)[ \t]+(\S+)", directives)
    if not requests:
        return {}
    shown = ", ".join(f"'-pe {name} {slots}'" for name, slots in requests)
    where = f"job_extra_directives: {shown}"
    name, slots = requests[0]
    if len(requests) > 1 or found["parallel_environment"] not in (None, name):
        raise OptionError(f"{where}: a node has one parallel_environment")
    if not slots.isdigit() or not int(slots):
        raise OptionError(f"{where}: expected one number of slots for all nodes")
    if cores is not None and cores != int(slots):
        raise OptionError(
            f"{where}, but cores={cores}: a node has as many cores as slots",
            hint=f"cores={slots}, and worker_options={{'nthreads': {cores}}} if its"
            " worker is to run fewer tasks at the same time",
        )
    rest = re.sub(r"(?<!\S)-pe[ \t]+\S+[ \t]+\S+[ \t]*", "", directives)
    return {
        "parallel_environment": name,
        "cores": int(slots),
        "job_extra_directives": tuple(line for line in rest.split("\n") if line),
    }
