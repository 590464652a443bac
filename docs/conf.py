"""How Sphinx builds the pages of this folder; ``ci/docs`` runs it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from dask_gridengine import __version__

project = "dask-gridengine"
author = "The dask-gridengine developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "settings",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nitpicky = False

html_theme = "sphinx_book_theme"
html_title = "dask-gridengine"
html_logo = html_favicon = "images/logo.svg"
html_css_files = ["style.css"]
html_static_path = ["_static"]
html_theme_options = {"show_toc_level": 2, "show_navbar_depth": 1}

myst_heading_anchors = 3  # GitHub's anchors, so that links hold there, too
myst_enable_extensions = ["colon_fence"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_typehints = "none"  # numpydoc's sections say them, with their units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

HERE = Path(__file__).parent


def only_pages_there_are(app: object, docname: str, source: list[str]) -> None:
    """Leave out of the index what has not been written, and add what it does not name.

    Several people write pages at a time; none of them has to touch the index.
    """
    if docname != "index":
        return
    pages = {page.stem for page in HERE.glob("*.md")} - {"index"}
    named = set(re.findall(r"^([a-z-]+)$", source[0], re.MULTILINE))
    missing, others = named - pages, sorted(pages - named)
    text = re.sub(
        r"^([a-z-]+)\n",
        lambda line: "" if line[1] in missing else line[0],
        source[0],
        flags=re.MULTILINE,
    )
    if others:
        text += "\n```{toctree}\n:hidden:\n:caption: More\n\n" + "\n".join(others)
        text += "\n```\n"
    source[0] = text


def setup(app: object) -> None:
    app.connect("source-read", only_pages_there_are)  # type: ignore[attr-defined]
