"""The documentation site: ``make docs``."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import sphinx_autosummary_accessors
from sphinx.ext import autosummary

import xcloudfree

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

# Names under which users reach rooms of another name, as modules for the reference.
for alias in ("bands", "benchmarking"):
    sys.modules[f"xcloudfree.{alias}"] = getattr(xcloudfree, alias)

project = "xcloudfree"
author = "The xcloudfree developers"
copyright = "The xcloudfree developers, Apache-2.0"
version = release = xcloudfree.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_autosummary_accessors",
    "myst_nb",
    "references",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "examples/*.py"]

# API reference. Types stand in the docstrings; in signatures they hide the names.
autosummary_generate = True
autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.",)  # which end no sentence
autodoc_typehints = "none"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
add_module_names = False
nitpicky = True
# Types are words for readers; constants, modules and what is behind the scenes are not listed.
nitpick_ignore_regex = [
    ("py:(class|data|mod|attr)", r".*"),
    ("py:func", r".*(core|datasets|masks|methods|reconstruct|judge|stac|plugins|cost).*"),
]

# Pages and notebooks are executed from nothing; an exception ends the build.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = os.environ.get("XCLOUDFREE_NOTEBOOKS", "force")
nb_execution_excludepatterns = ["examples/*"]  # references.py has run them, two at a time
nb_execution_in_temp = True
nb_execution_timeout = 900  # busy machines
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ["PYTHONPATH"] = str(DOCS.parent)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"  # no progress bars in the output of notebooks
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
warnings.filterwarnings("ignore", category=DeprecationWarning)

html_theme = "pydata_sphinx_theme"
html_title = "xcloudfree"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_prev_next": False,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
    "article_footer_items": [],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {
    page: []
    for page in (
        "index",
        "start",
        "gallery",
        "catalogs",
        "concepts",
        "comparison",
        "models",
        "results",
        "api",
        "generated/*",
    )
}
