"""How the docs site is built: Sphinx with MyST and the theme Furo, without a request to any other host.

`make docs` builds it into `.build/site`. Sphinx, and not mkdocs-material: that one ends in May 2027, and its successor
has no stable release yet.
"""

from __future__ import annotations

# Pygments says little of its types.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
import re
from typing import TYPE_CHECKING

from pygments.lexer import RegexLexer, bygroups, using
from pygments.lexers.shell import BashLexer
from pygments.token import Generic

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "spancost"
author = "the authors of spancost"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_make"]
suppress_warnings = ["misc.highlighting_failure"]

myst_heading_anchors = 3
myst_links_external_new_tab = False

# Docstrings are Google style, and write code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "spancost"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "native"


class Session(RegexLexer):
    """Commands behind `$ `, and their output as it is: the lexer of Pygments takes `$0.12` for a command."""

    name = "console"
    tokens = {  # noqa: RUF012
        "root": [
            (r"^(\$ )((?:.*\\\n)*.+\n?)", bygroups(Generic.Prompt, using(BashLexer))),
            (r".+\n?|\n", Generic.Output),
        ]
    }


def name_files(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put the name of its file above a block that is one (```python file=shop.py)."""
    source[0] = re.sub(r"^```\w+ file=(\S+).*$", r"**\1**\n\n\g<0>", source[0], flags=re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Have Sphinx know the lexer and the names of files."""
    app.add_lexer("console", Session)
    app.connect("source-read", name_files)
