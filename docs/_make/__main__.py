"""Make the generated pages of the reference.

python -m docs._make            write them
python -m docs._make --check    say whether they are up to date; 1 if not
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from docs._make import cli, configuration, names, reasons
from spancost.prices.build import write_or_check

FOLDER: Final = Path(__file__).parents[1] / "reference"
PAGES: Final = {
    "names.md": names.page,
    "configuration.md": configuration.page,
    "cli.md": cli.page,
    "reasons.md": reasons.page,
}

HEAD: Final = "<!-- Made by `python -m docs._make` from the code; do not edit. -->\n\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the pages; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m docs._make", description="Make the pages of docs/reference.")
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if a page is out of date")
    check = parser.parse_args(arguments).check
    stale = "docs/reference/{} is out of date: run make docs-pages"
    return max(write_or_check(FOLDER / name, HEAD + page(), check, stale.format(name)) for name, page in PAGES.items())


if __name__ == "__main__":
    sys.exit(main())
