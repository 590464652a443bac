"""Pages with code that is for a grid, on a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of, pages
from tests.docs.test_pages import run_page
from tests.grid.conftest import Cell

pytestmark = [pytest.mark.grid, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if any(b.on_the_grid for b in blocks_of(page))],
    ids=lambda page: page.name,
)
def test_the_code_of_a_page_runs_on_the_grid(
    grid: Cell, page: Path, tmp_path: Path
) -> None:
    """All blocks run, also those for local processes, and no job is left."""
    settings = {
        "DASK_GRIDENGINE__LAUNCHER": "drmaa",
        "DASK_GRIDENGINE__DEATH_TIMEOUT": "20",
    }
    output = run_page(page, tmp_path, "--on-the-grid", **settings)
    assert output == "", output
