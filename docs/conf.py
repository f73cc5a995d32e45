"""Sphinx configuration: Markdown pages, and the reference from the docstrings."""

import adamax

project = "adamax"
author = "The adamax authors"
copyright = "2026, The adamax authors"
release = version = adamax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# Names in single backticks are code, as in NumPy's docstrings they mostly are.
default_role = "code"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_param = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"adamax {release}"
