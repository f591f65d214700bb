"""Pages of gqn: Markdown by MyST, and an API reference from the docstrings.

    python -m sphinx -W -b html docs docs/_build/html

Every warning is an error, and nothing is fetched from a network.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import gqn

project = "gqn"
release = gqn.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["attrs_block", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
shutil.rmtree(Path(__file__).parent / "generated", ignore_errors=True)  # pages of modules that are gone since
# Matplotlib gives each subclass of a figure a method `set` with a docstring of its own rules.
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "set"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # other libraries' docstrings follow other rules
napoleon_numpy_docstring = False
default_role = "py:obj"

html_theme = "alabaster"
html_theme_options = {"description": project, "fixed_sidebar": True, "page_width": "1120px", "sidebar_width": "230px"}
html_show_sourcelink = False
html_copy_source = False


def setup(app: Any) -> None:
    app.connect("source-read", offer_files)


def offer_files(app: Any, page: str, source: list[str]) -> None:
    """Make links to Markdown outside docs/, which are no pages here, links to the files; bring the changelog in."""
    if page == "changelog":
        changes = (Path(__file__).parent.parent / "CHANGELOG.md").read_text()
        source[0] = re.sub(r"\]\((?!\w+:)", "](../", changes).replace("](../docs/", "](")
    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)\)", r"](path:\1)", source[0])
