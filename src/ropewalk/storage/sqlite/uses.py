"""What is live of an instance and names methods: what a new version has to have.

Grouped by the database, by what each asks of its method: 100,000 callbacks of one method are one row. Whoever adds a table that names
methods adds its statement to `USES`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ropewalk.storage.records import Use
from ropewalk.storage.sqlite.driver import Row

_read_names = msgspec.json.Decoder(tuple[str, ...]).decode


def _grouped(kind: str, event: str, rows: str) -> str:
    """Return the statement that groups `rows`, which have `target_ns`, `method` and, as JSON text, `arguments` and `event`.

    What nothing is bound to is told by its bytes, since taking JSON apart is what costs. What is no JSON has no shape, and raises nothing.
    """
    return f"""
        WITH used AS ({rows}), shaped AS (
            SELECT {kind} AS kind, target_ns, method, {event} AS brings,
                CASE WHEN arguments = '[[],{{}}]' THEN 0 WHEN json_valid(arguments) THEN json_array_length(arguments, '$[0]') END AS positions,
                CASE WHEN arguments = '[[],{{}}]' OR NOT json_valid(arguments) THEN '[]'
                    ELSE (SELECT json_group_array(key) FROM json_each(arguments, '$[1]')) END AS names
            FROM used
        )
        SELECT kind, target_ns, method, brings, positions, names, count(*) FROM shaped GROUP BY 1, 2, 3, 4, 5, 6
        """


_PAYLOAD: Final = "cast(coalesce(e.{0}, (SELECT {0} FROM payloads WHERE execution = e.n)) AS TEXT) AS {0}"

_OF_EVENT: Final = f"e.trigger, e.target_ns, e.method, {_PAYLOAD.format('arguments')}, {_PAYLOAD.format('event')}"

USES: Final = (
    _grouped(
        "'callback'", "NULL", "SELECT target_ns, method, cast(arguments AS TEXT) AS arguments FROM callbacks WHERE instance = ?1"
    ),
    _grouped(
        "'webhook'", "1", "SELECT target_ns, method, cast(arguments AS TEXT) AS arguments FROM webhooks WHERE instance = ?1"
    ),
    # Those that wait, ready or not, and the one that runs: should it fail, it is tried again in the version that there is then.
    _grouped(
        "CASE trigger WHEN 'task' THEN trigger ELSE trigger || ' event' END",
        "CASE WHEN event = '[]' THEN 0 WHEN json_valid(event) THEN json_array_length(event) END",
        f"""
        SELECT {_OF_EVENT} FROM executions e INDEXED BY executions_ready WHERE instance = ?1 AND seq IS NOT NULL AND rank > 1
        UNION ALL
        SELECT {_OF_EVENT} FROM executions e INDEXED BY executions_timers WHERE instance = ?1 AND due IS NOT NULL AND rank > 1
        UNION ALL
        SELECT {_OF_EVENT} FROM instances i CROSS JOIN executions e ON e.n = i.running WHERE i.id = ?1 AND e.rank > 1
        """,
    ),
    # What the code itself declares to recur follows the code.
    _grouped(
        "'recurring task'",
        "0",
        "SELECT target_ns, method, cast(arguments AS TEXT) AS arguments FROM recurring WHERE instance = ?1 AND declared = 0",
    ),
)
"""Statements that each give the columns of a `Use` for one instance."""


def use_record(row: Row) -> Use:
    """Return the use that a row of one of `USES` is."""
    kind, ns, method, event, positions, names, count = row
    return Use(kind=kind, ns=ns, method=method, event=event, positions=positions, names=_read_names(names), count=count)
