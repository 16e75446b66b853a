"""Brings a database to this release's schema: numbered SQL files, each applied in one transaction that also records its number.

Several processes may open the same new or old database at once: each takes the write lock, looks again at the number, and applies
only what is still missing.
"""

from __future__ import annotations

from importlib.resources import files

from ropewalk.storage.interface import StorageUnusable
from ropewalk.storage.sqlite.driver import Connection

APPLICATION_ID = 0x52504B31
"""Marks the file as Ropewalk's ("RPK1"), for `file` and for us."""


def migrations() -> list[tuple[int, str]]:
    """Return number and SQL of every migration, in order."""
    found = (item for item in files("ropewalk.storage.sqlite").joinpath("schema").iterdir() if item.name.endswith(".sql"))
    return sorted((int(item.name.split("_", 1)[0]), item.read_text(encoding="utf-8")) for item in found)


def migrate(connection: Connection, path: str, known: list[tuple[int, str]] | None = None) -> None:
    """Apply the migrations that the database lacks.

    Raises:
        StorageUnusable: a newer release has written it.
    """
    steps = migrations() if known is None else known
    for number, sql in steps:
        if schema_version(connection) < number:
            _apply(connection, number, sql)
    if (version := schema_version(connection)) > steps[-1][0]:
        raise StorageUnusable(
            f"{path} has schema {version}, this release knows up to {steps[-1][0]}: use the release that wrote it, or a newer one"
        )


def schema_version(connection: Connection) -> int:
    """Return the number of the last migration that was applied."""
    return int(connection.pragma("user_version"))


def _apply(connection: Connection, number: int, sql: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if schema_version(connection) < number:
            connection.execute(sql).fetchall()
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={number}").fetchall()
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
