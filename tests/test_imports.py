"""Who may import whom: the layout of the package, held."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

import dask_gridengine

PACKAGE = Path(dask_gridengine.__file__).parent
TESTS = Path(__file__).parent

#: Every module, in an order in which imports only ever point upward.
LAYERS = [
    "_version",
    "errors",
    "causes",
    "names",
    "times",
    "blocking",
    "clock",
    "process_identity",
    "grid",
    "network",
    "network.addresses",
    "network.ports",
    "network.knocking",
    "network.tls",
    "bootstrap",
    "bootstrap.allocation",
    "bootstrap.wire",
    "bootstrap.credentials",
    "bootstrap.server",
    "bootstrap.arrival",
    "bootstrap.authority",
    "dialects.base",
    "dialects.gridengine.native",
    "dialects.gridengine.limits",
    "dialects.gridengine.delivery",
    "dialects.gridengine.hosts",
    "dialects.gridengine.queues",
    "dialects.gridengine.instances",
    "dialects.gridengine.states",
    "dialects.gridengine.report",
    "dialects.gridengine.marks",
    "dialects.gridengine.deletion",
    "dialects.gridengine.leftovers",
    "dialects.gridengine.accounting",
    "dialects.gridengine",
    "dialects.slurm",
    "dialects",
    "launchers",
    "launchers.semaphores",
    "launchers.launcher",
    "launchers.protocol",
    "launchers.spawn",
    "launchers.child",
    "launchers.orphans",
    "launchers.small_grid",
    "launchers.process_session",
    "launchers.commands",
    "launchers.drmaa_places",
    "launchers.drmaa_library",
    "launchers.drmaa_listed",
    "launchers.drmaa_accounting",
    "launchers.drmaa_jobs",
    "launchers.drmaa_service",
    "launchers.drmaa_session",
    "launchers.channel",
    "launchers.ledger",
    "launchers.keeper",
    "launchers.session",
    "launchers.process",
    "launchers.drmaa",
    "launchers.choose",
    "worker",
    "worker.prologue",
    "worker.granted",
    "worker.devices",
    "worker.light",
    "worker.template",
    "worker.nanny",
    "worker.task_loading",
    "worker.reaching",
    "worker.life",
    "node",
    "settings",
    "settings.differing",
    "settings.readings",
    "settings.defaults",
    "settings.config",
    "roster",
    "roster.roster",
    "roster.jobtable",
    "roster.view",
    "roster.standing",
    "roster.delays",
    "roster.lastwords",
    "roster.snapshot",
    "fleet",
    "fleet.prologue",
    "fleet.request",
    "fleet.remarks",
    "fleet.guard",
    "fleet.failures",
    "fleet.door",
    "fleet.endpoints",
    "fleet.import_path",
    "fleet.allocator",
    "fleet.memory_option",
    "fleet.diagnosis",
    "fleet.endings",
    "fleet.arrays",
    "fleet.reports",
    "fleet.fleet",
    "dashboard",
    "dashboard.palette",
    "dashboard.edges",
    "dashboard.bars",
    "dashboard.hosts",
    "dashboard.histogram",
    "dashboard.page",
    "dashboard.connect",
    "dashboard.routes",
    "dashboard.prometheus",
    "scheduler",
    "scheduler.glances",
    "scheduler.notes",
    "scheduler.quiet",
    "scheduler.durations",
    "scheduler.timely",
    "scheduler.fair",
    "scheduler.worker_status",
    "scheduler.scheduler",
    "upkeep",
    "upkeep.expiry",
    "upkeep.budget",
    "upkeep.places",
    "upkeep.silence",
    "upkeep.suspensions",
    "upkeep.upkeep",
    "upkeep.prospects",
    "upkeep.retiring",
    "upkeep.walltimes",
    "upkeep.turnover",
    "pools",
    "pools.handle",
    "pools.pool",
    "pools.requirements",
    "pools.demand",
    "scaling",
    "scaling.scaling",
    "scaling.idleness",
    "scaling.adaptive",
    "display",
    "display.timeline",
    "display.markup",
    "display.notebook",
    "cluster",
    "cluster.jobscript",
    "cluster.explain",
    "cluster.waiting",
    "cluster.witness",
    "cluster.wayback",
    "cluster.draining",
    "cluster.desk",
    "cluster.opening",
    "cluster.reconciled",
    "cluster.shown",
    "cluster.cluster",
    "outside",
    "outside.asking",
    "outside.registry",
    "outside.sighting",
    "outside.removal",
    "outside.connecting",
    "outside.schedulerfile",
    "doctor",
    "doctor.finding",
    "doctor.commands",
    "doctor.access",
    "doctor.queues",
    "doctor.environments",
    "doctor.complexes",
    "doctor.limits",
    "doctor.standing",
    "doctor.node_report",
    "doctor.scratch",
    "doctor.talk",
    "doctor.on_node",
    "doctor.herald",
    "doctor.outcome",
    "doctor.station",
    "doctor.probe",
    "doctor.arrivals",
    "doctor.ways",
    "doctor.conditions",
    "doctor.sending",
    "doctor.examination",
    "doctor.profile",
    "doctor.report",
    "cli.provenance",
    "cli.common",
    "cli.tables",
    "cli.ps",
    "cli.chosen",
    "cli.explain",
    "cli.logs",
    "cli.kill",
    "cli.config",
    "cli.stops",
    "cli.view",
    "cli.running",
    "cli.up",
    "cli.demo",
    "cli.examining",
    "cli.doctor",
    "cli",
    "__init__",
]

#: Modules that another test file's name covers.
TESTED_IN = {
    "_version": "test_init.py",
    "__init__": "test_init.py",
    "dialects.base": "batch/test_batch.py",
    "launchers.launcher": "launchers/test_session.py",  # a protocol
    "cluster.opening": "cluster/test_cluster.py",
    "cluster.draining": "cluster/test_control.py",
    "roster.snapshot": "cluster/test_control.py",
    **{
        f"cli.{part}": "cli/test_looking.py"
        for part in ("ps", "logs", "chosen", "common", "tables", "explain")
    },
    **{f"cli.{part}": "cli/test_up.py" for part in ("running", "stops", "view")},
    "cli.config": "cli/test_provenance.py",
    "cli.examining": "cli/test_doctor_command.py",
    # Whole, on local processes: each is nothing without the others.
    **{
        f"doctor.{part}": "cli/test_doctor_command.py"
        for part in (
            *("examination", "sending", "station", "probe"),
            *("on_node", "herald", "talk", "outcome"),
        )
    },
}


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name, and when that happens."""

    name: str
    at_import: bool  # rather than in a function, or only for the type checker

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@cache
def modules() -> list[str]:
    """Every module by its name below the package; a folder is its ``__init__``."""
    return sorted(_name(path) for path in PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[1:] and parts[-1] == "__init__" else parts)


def _path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports(module: str) -> frozenset[Import]:
    """What a module imports, anywhere in it."""
    return frozenset(_walk(ast.parse(_path(module).read_text()), at_import=True))


def _walk(tree: ast.AST, *, at_import: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the package: from dask_gridengine..."
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                name = whole if ours(whole) in modules() else node.module
                yield Import(name or "", at_import)
        yield from _walk(node, at_import=at_import and not (later or typing))


def ours(name: str) -> str:
    """Name below the package; "" for what is not ours."""
    if name == "dask_gridengine":
        return "__init__"
    return name.removeprefix("dask_gridengine.") if "dask_gridengine." in name else ""


def closure(module: str) -> set[str]:
    """All that is loaded with a module: ours by short name, others' by top name."""
    loaded: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in loaded:
            continue
        loaded.add(name)
        todo.append("__init__")
        todo += [name.rpartition(".")[0]] if "." in name else []
        found = [imported for imported in imports(name) if imported.at_import]
        todo += [ours(imported.name) for imported in found if ours(imported.name)]
        loaded |= {imported.top for imported in found if not ours(imported.name)}
    return loaded


def test_every_module_has_its_place() -> None:
    """A new module is put where it belongs in the layout, or this fails."""
    for module in modules():
        assert module in LAYERS, (
            f"dask_gridengine.{module} is new: put it into LAYERS in {__file__}, below"
            " everything it imports and above everything that imports it"
        )
    for module in LAYERS:
        assert module in modules(), f"{module} is gone: take it out of LAYERS"


def test_imports_only_point_upward() -> None:
    """No cycle, and no reaching down: a reader may go from top to bottom once."""
    downward = [
        f"{module} imports {ours(imported.name)}, which is further down"
        for module in modules()
        for imported in imports(module)
        if ours(imported.name)
        and LAYERS.index(ours(imported.name)) >= LAYERS.index(module)
    ]
    assert downward == []


def test_a_node_loads_no_dask_before_its_hello() -> None:
    """All that `python -m dask_gridengine.node` imports is cheap."""
    heavy = {"dask", "distributed", "tornado", "asyncio", "psutil", "cryptography"}
    loaded = closure("node")
    assert {"bootstrap.arrival", "worker.granted", "worker.template", "zmq"} <= loaded
    assert not loaded & {*heavy, "yaml", "worker.life", "settings.config"}


def test_a_probed_node_imports_dask_only_to_measure_it() -> None:
    """What the doctor's nodes load before that step is as cheap as a node's."""
    heavy = {"dask", "distributed", "tornado", "asyncio", "psutil", "cryptography"}
    assert not closure("doctor.on_node") & {
        *heavy,
        "yaml",
        "worker.life",
        "settings.config",
    }


def test_launchers_know_no_dask() -> None:
    """A session child starts in no time."""
    found = {
        (module, imported.at_import)
        for module in modules()
        for imported in imports(module)
        if module.startswith("launchers") and imported.top in ("dask", "distributed")
    }
    assert found == set()


def test_only_the_session_child_imports_drmaa() -> None:
    """libdrmaa cannot be loaded into a user's Python, and must not crash it."""
    importers = {
        module
        for module in modules()
        if "drmaa" in {imported.top for imported in imports(module)}
    }
    assert importers <= {"launchers.drmaa_library"}


def test_packages_only_point_upward() -> None:
    """Nor is there a cycle between folders: each is told of those above it alone."""
    packages = list(dict.fromkeys(module.partition(".")[0] for module in LAYERS))
    assert packages == [name for name, _ in groupby(LAYERS, lambda m: m.split(".")[0])]


def _is_a_title(module: str) -> bool:
    """Whether a folder's ``__init__`` says what is in it, and nothing else."""
    body = ast.parse(_path(module).read_text()).body
    return all(isinstance(part, ast.Expr) for part in body)


def test_every_module_has_its_tests() -> None:
    """tests/<folder>/test_<module>.py: a missing file is visible."""
    wanted = {
        TESTED_IN[module] if module in TESTED_IN else _own_tests(module)
        for module in modules()
        if not _is_a_title(module)
    }
    assert sorted(path for path in wanted if not (TESTS / path).exists()) == []


def _own_tests(module: str) -> str:
    folder, _, _ = module.partition(".")
    name = module.rpartition(".")[2]
    return (
        f"test_{name}.py" if _is_file_at_the_top(module) else f"{folder}/test_{name}.py"
    )


def _is_file_at_the_top(module: str) -> bool:
    return (PACKAGE / f"{module}.py").exists() and "." not in module
