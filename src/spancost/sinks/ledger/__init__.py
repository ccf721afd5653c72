"""The ledger: one SQLite file with what was charged, for months, shared by the processes of a machine.

    writer ─▶ sums, traces, retention ─▶ schema ◀─ query ◀─ reader
    (batches)  (rows, kept traces,       (tables)   (SQL)   (rows)
               minutes to days)

`migrations` brings older files up to the present schema.
"""
