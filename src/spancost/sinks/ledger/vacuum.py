"""Give back the room that deleted rows have left in a ledger file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import NamedTuple

from spancost.errors import LedgerError
from spancost.sinks.ledger.inspection import file_bytes
from spancost.sinks.ledger.schema import SCHEMA_VERSION, connect_to_write, ledger_error, version_of
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin


class Vacuumed(NamedTuple):
    """What has changed."""

    bytes_before: int
    bytes_after: int
    schema_before: int
    schema_after: int
    is_held: bool
    """Another process reads the file: it gets smaller when that has ended."""


def vacuum(path: str) -> Vacuumed:
    """Bring a ledger up to the present schema and write it anew without gaps; nothing of it changes.

    Needs as much free disk as the file has.

    Raises:

        LedgerError: There is no such file, it is no ledger, it cannot be written, or another process holds it.
    """
    if not os.path.exists(path):
        raise LedgerError(f"ledger {path}: no such file")
    before = file_bytes(path)
    try:
        with closing(connect_to_write(path)) as connection:
            version = version_of(connection, path)
            if not version:
                raise LedgerError(f"ledger {path}: nothing has been written to it yet")
        if version < SCHEMA_VERSION:
            Ledger(path, Origin()).create()
        with closing(connect_to_write(path)) as connection:
            connection.execute("VACUUM")
            held = bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
    except sqlite3.Error as error:
        raise ledger_error(path, "vacuum it", error) from error
    return Vacuumed(before, file_bytes(path), version, SCHEMA_VERSION, held)
