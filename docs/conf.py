"""How Sphinx builds the pages of this folder; ``ci/docs`` runs it."""

from __future__ import annotations

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
