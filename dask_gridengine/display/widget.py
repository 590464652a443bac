"""The live picture of a cluster in a notebook: its table, and controls that work.

What Dask's own has and this has not: zeros that stop everything at a click, and a
failure that is a line in a log nobody sees.
"""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from dask_gridengine.causes import number_of_nodes
from dask_gridengine.errors import OptionError
from dask_gridengine.scaling.adaptive import ADAPTIVE_MAXIMUM

SHOWN = 200  # lines of logs


class Widget:
    """Table, controls and logs.

    Parameters
    ----------
    cluster
        A `GridEngineCluster`.
    table
        Makes the table.
    logs
        Makes the text of the logs.
    pools
        Kinds of nodes to choose from; empty where there is one.
    """

    def __init__(
        self,
        cluster: Any,
        *,
        table: Callable[[], str],
        logs: Callable[[], str],
        pools: Sequence[str],
    ) -> None:
        self._cluster, self._table, self._logs = cluster, table, logs
        narrow, style = ipywidgets.Layout(width="150px"), {"description_width": "70px"}
        button = ipywidgets.Layout(width="80px")

        def number(name: str, value: int) -> Any:
            return ipywidgets.BoundedIntText(
                value, min=0, max=10**6, description=name, layout=narrow, style=style
            )

        self.status = ipywidgets.HTML(table())
        self.pool = ipywidgets.Dropdown(
            options=list(pools), description="Pool", layout=narrow, style=style
        )
        self.nodes = number("Nodes", 0)
        self.minimum, self.maximum = number("Minimum", 0), number("Maximum", 1)
        self._offer()
        self.pool.observe(lambda _: self._offer(), "value")
        self.scale = ipywidgets.Button(description="Scale", layout=button)
        self.adapt = ipywidgets.Button(description="Adapt", layout=button)
        self.message = ipywidgets.HTML("")
        self.text = ipywidgets.HTML("")
        self.fold = ipywidgets.Accordion([self.text], selected_index=None)
        self.fold.set_title(0, "Logs")
        self._deed: object = None  # of the last click
        self.scale.on_click(lambda _: self._act(self._scale))
        self.adapt.on_click(lambda _: self._act(self._adapt))
        self.root = ipywidgets.VBox(
            [
                self.status,
                ipywidgets.HBox(
                    [
                        *([self.pool] if pools else []),
                        self.nodes,
                        self.scale,
                        self.minimum,
                        self.maximum,
                        self.adapt,
                    ]
                ),
                self.message,
                self.fold,
            ]
        )

    def update(self) -> None:
        """Show what is now; logs only to whoever has opened them."""
        self.status.value = self._table()
        if self.fold.selected_index is not None:
            lines = self._logs().splitlines()[-SHOWN:]
            text = html.escape("\n".join(lines)) or "nothing yet"
            self.text.value = f'<pre style="line-height:1.3">{text}</pre>'

    def _offer(self) -> None:
        """What there is: a click on it changes nothing."""
        pool = self._cluster.pool(self.pool.value)
        self.nodes.value = pool.wanted
        most = ADAPTIVE_MAXIMUM // pool.options.processes
        self.maximum.value = pool.wanted or most

    def _scale(self) -> Any:
        nodes = int(self.nodes.value)
        self._say(f"asking for {self._named(nodes)} ...")
        scaling = self._cluster.scale(jobs=nodes, pool=self.pool.value)
        return scaling, f"kept at {self._named(nodes)}"

    def _named(self, nodes: int) -> str:
        of = f" of {self.pool.value}" if self.pool.value else ""
        return number_of_nodes(nodes) + of

    def _adapt(self) -> Any:
        least, most = int(self.minimum.value), int(self.maximum.value)
        if most < max(least, 1):
            raise OptionError(
                f"maximum {most} must be at least 1, and the minimum, {least}"
            )
        self._cluster.adapt(minimum_jobs=least, maximum_jobs=most, pool=self.pool.value)
        return None, f"between {least} and {self._named(most)}, as there is work"

    def _act(self, deed: Callable[[], Any]) -> None:
        """Do it in the cluster's loop: a grid that is slow must not stop the kernel."""

        async def act() -> None:
            failed, self._deed = False, deed
            try:
                waiting, said = deed()
                if inspect.isawaitable(waiting):
                    await waiting
            except Exception as exc:  # noqa: BLE001 - a click has nobody else to tell
                failed, said = True, f"{type(exc).__name__}: {exc}"
            if failed or self._deed is deed:  # else there was another click meanwhile
                self._say(said, failed=failed)
            self.update()

        self._cluster.loop.add_callback(act)

    def _say(self, text: str, *, failed: bool = False) -> None:
        style = "white-space:pre-wrap;color:#d55e00" if failed else "opacity:.75"
        self.message.value = f'<div style="{style}">{html.escape(text)}</div>'
