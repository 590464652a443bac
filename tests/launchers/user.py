"""A user's Python that has a launcher, for tests of what happens when it ends.

``python -m tests.launchers.user KIND DIRECTORY``: opens a launcher, submits an array
of three of which two can run (on two slots), and prints a line of JSON. Then it does
one of: ``sleep`` to be killed, ``fork`` to leave a fork that holds the child's pipe,
``exit`` to end without closing anything when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil

from dask_gridengine.grid_types import NodeRequest
from dask_gridengine.launchers.select import open_launcher


async def main(kind: str, directory: Path, ending: str) -> None:
    (directory / "connection.json").write_text("{}")
    (directory / "logs").mkdir()
    launcher = await open_launcher(kind, lambda end: None, slots=2, cleanup=directory)
    script = f"echo $$ >{directory}/logs/$SGE_TASK_ID; sleep 1000 & wait"
    request = NodeRequest(name="orphan", command=("/bin/sh", "-c", script))
    nodes = await launcher.submit(request, 3)
    child = next(
        child.pid
        for child in psutil.Process().children()
        if "--cleanup" in child.cmdline()
    )
    sys.stdout.write(json.dumps({"job": nodes[0].job, "child": child}) + "\n")
    sys.stdout.flush()
    if ending == "fork" and os.fork() == 0:
        signal.pause()
    if ending == "exit":
        sys.stdin.read()
    else:
        await asyncio.sleep(1000)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
