"""The controls in a notebook, clicked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine import GridEngineCluster
from tests.waiting import until

ipywidgets = pytest.importorskip("ipywidgets")

from dask_gridengine.display.widget import SHOWN, Widget  # noqa: E402 - not without it


def opening(shared: Path, **options: Any) -> GridEngineCluster:
    """A cluster without nodes, to be entered."""
    return GridEngineCluster(
        **options,
        asynchronous=True,
        launcher="process",
        slots=1,
        shared_directory=shared,
        quiet=True,
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
    )


def widget_of(cluster: GridEngineCluster, **options: Any) -> Widget:
    given: dict[str, Any] = {
        "table": lambda: "<p>table</p>",
        "logs": lambda: "",
        "pools": list(cluster.options.pools),
        **options,
    }
    return Widget(cluster, **given)


@pytest.fixture(autouse=True)
def no_widgets_left() -> Iterator[None]:
    """ipywidgets keeps all there ever were, for the front end."""
    yield
    ipywidgets.Widget.close_all()


def test_it_offers_what_there_is(shared: Path) -> None:
    """A click on what is there changes nothing: no zero stops everything."""

    async def main() -> None:
        async with opening(shared) as cluster:
            await cluster.scale(jobs=1)
            widget = widget_of(cluster)
            assert (widget.nodes.value, widget.maximum.value) == (1, 1)
            widget.scale.click()
            await until(lambda: "kept at 1" in widget.message.value, "scaled")
            assert cluster.wanted == 1

    asyncio.run(main())


def test_it_scales_and_adapts(shared: Path) -> None:
    """As the methods of the same names; scaling ends adapting."""

    async def main() -> None:
        async with opening(shared) as cluster:
            widget = widget_of(cluster)
            widget.nodes.value = 2
            widget.scale.click()
            await until(lambda: cluster.wanted == 2, "scaled")
            widget.maximum.value = 5
            widget.adapt.click()
            await until(lambda: "adaptive, 0 to 5" in repr(cluster), "adapts")
            assert "between 0 and 5 nodes" in widget.message.value
            widget.nodes.value = 0
            widget.scale.click()
            await until(lambda: "kept at 0" in widget.message.value, "scaled again")
            assert "adaptive" not in repr(cluster)

    asyncio.run(main())


def test_pools_are_scaled_and_adapted_one_by_one(shared: Path) -> None:
    """The one that is chosen; what there is of it is offered."""

    async def main() -> None:
        async with opening(shared, pools={"small": {}, "big": {}}) as cluster:
            widget = widget_of(cluster)
            assert widget.pool in widget.root.children[1].children
            assert widget.pool.value == "small"
            widget.nodes.value = 1
            widget.scale.click()
            await until(lambda: "kept at 1 node of small" in widget.message.value, "1")
            widget.pool.value = "big"
            assert widget.nodes.value == 0
            widget.maximum.value = 4
            widget.adapt.click()
            await until(lambda: "adaptive, big 0 to 4" in repr(cluster), "adapts")
            assert cluster.pool("small").wanted == 1
            text = cluster._repr_html_()
            assert "pools" in text

    asyncio.run(main())


def test_a_refusal_is_shown(shared: Path) -> None:
    """Where the click was, and not only in a log."""

    async def main() -> None:
        async with opening(shared) as cluster:
            widget = widget_of(cluster)
        widget.scale.click()  # of a cluster that is closed
        widget.nodes.value = 3
        widget.scale.click()
        await until(lambda: "ClusterNotRunning" in widget.message.value, "shown")

    asyncio.run(main())


def test_bounds_that_make_no_sense_are_refused(shared: Path) -> None:
    """Dask's own adapts to a maximum of nothing."""

    async def main() -> None:
        async with opening(shared) as cluster:
            widget = widget_of(cluster)
            for least, most in ((0, 0), (4, 3)):
                widget.minimum.value, widget.maximum.value = least, most
                widget.message.value = ""
                widget.adapt.click()
                await until(lambda: "at least" in widget.message.value, "refused")
            assert "adaptive" not in repr(cluster)

    asyncio.run(main())


def test_logs_are_made_for_whoever_opens_them(shared: Path) -> None:
    """Not at each glance; the last lines, and never as markup."""

    async def main() -> None:
        asked = []

        def logs() -> str:
            asked.append(1)
            return "\n".join(f"<{i}>" for i in range(SHOWN + 1))

        async with opening(shared) as cluster:
            widget = widget_of(cluster, logs=logs)
            widget.update()
            assert not asked
            widget.fold.selected_index = 0
            widget.update()
            assert f"&lt;{SHOWN}&gt;" in widget.text.value
            assert "&lt;0&gt;" not in widget.text.value

    asyncio.run(main())
