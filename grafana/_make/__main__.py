"""Make the dashboards and the alert rules of Grafana.

python -m grafana._make            write them
python -m grafana._make --check    say whether they are up to date; 1 if not
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from grafana._make import aws, budgets, llm, overview, quality, route, tenants
from grafana._make.alerting import alert_rules
from grafana._make.frame import Board, json_of
from spancost.prices.build import write_or_check

FOLDER: Final = Path(__file__).parents[1]
BOARDS: Final[Mapping[str, Board]] = {
    module.BOARD.uid: module.BOARD for module in (overview, route, llm, aws, tenants, budgets, quality)
}
ALERTS: Final = FOLDER / "rules" / "alerts.yaml"


def files() -> dict[Path, str]:
    """Return every made file with its text."""
    made = {FOLDER / "dashboards" / f"{uid}.json": json_of(board) for uid, board in BOARDS.items()}
    return {**made, FOLDER / "provisioning" / "alerting" / "spancost.yaml": alert_rules(ALERTS)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m grafana._make", description="Make the files of grafana/.")
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    said = "{} is out of date: run python -m grafana._make"
    return max(
        write_or_check(file, text, check, said.format(file.relative_to(FOLDER.parent)))
        for file, text in files().items()
    )


if __name__ == "__main__":
    sys.exit(main())
