"""The command line: `spancost run|report|top|tree|diff|doctor|price|ledger|explain|prices|attribution|budgets|...`.

Importing this package imports neither typer nor rich; `main` does, and says how to install them.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["main"]

EXIT_FINE = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 127
"""A command that is not there, as shells report it."""


def main() -> None:
    """Run the command line with `sys.argv`; the console script `spancost`."""
    try:
        import rich  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import typer  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        from spancost.errors import MissingExtraError

        sys.stderr.write(f"{MissingExtraError('the spancost command line', 'cli')}\n")
        sys.exit(EXIT_USAGE)
    from spancost.cli._app import application

    # Commands answer for themselves: `doctor` shows these warnings, and under `run` the application logs them.
    logging.getLogger("spancost.config").disabled = True

    application(sys.argv[1] if len(sys.argv) > 1 else "")(prog_name="spancost")
