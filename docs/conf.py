"""The documentation site, made of the pages as they are in the repository; CONTRIBUTING.md has the command."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # for `sphinx_fcnn`, and for `fcnn` as it is in this checkout

from fcnn import __version__  # noqa: E402 - the path comes first

project = "fcnn"
version = release = __version__
# The source folder is the repository, so that links lead where they lead on a code host.
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "TPU.md", "docs/**"]
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "runs",
    "fcnn",
    "tests",
    "configs",
    "examples",
    "docs/sphinx_fcnn",
    "**.ipynb_checkpoints",
]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_fcnn.extension"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
smartquotes = False  # they would make one dash of two in `--option`
nb_execution_mode = "off"  # the notebooks have a test of their own
nb_merge_streams = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True

autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

nitpick_ignore = [("py:class", "ArrayTree")]  # within the type of Optax's states

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "fcnn"
html_static_path = ["sphinx_fcnn/static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
