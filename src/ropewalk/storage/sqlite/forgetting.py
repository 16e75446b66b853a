"""Files of old versions go, so that deploys do not fill the disk: the version's row stays, and says when.

    in use, or among the newest ─► unused since a time ─► removed: its files, and the packages that no other version stands on
              ▲                        │
              └── an instance goes to it

A version that no instance is in, goes to or waits for has no attempts, so that its records are no younger than `unused_since`: whoever waits
for as long as records are kept takes no replay its code. Instances never go back to a version, only to its code as a new one.
"""

from __future__ import annotations

from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.sqlite.committer import Transaction

_IN_USE: Final = """
    EXISTS (
        SELECT 1 FROM instances i INDEXED BY instances_offered
        WHERE i.twist = versions.twist AND versions.number IN (i.version, i.target_version, i.awaiting) AND i.status NOT IN ('gone', 'erased')
    )
    """

_OLD: Final = "number <= (SELECT latest FROM twists WHERE id = versions.twist) - ?"

_LEFT: Final = (
    f"UPDATE versions SET unused_since = ? WHERE removed_at IS NULL AND unused_since IS NULL AND {_OLD} AND NOT {_IN_USE}"
)

_USED_AGAIN: Final = f"""
    UPDATE versions SET unused_since = NULL
    WHERE removed_at IS NULL AND unused_since IS NOT NULL AND (NOT ({_OLD}) OR {_IN_USE})
    """

_REMOVE: Final = """
    UPDATE versions SET removed_at = ?1 WHERE (twist, number) IN (
        SELECT twist, number FROM versions WHERE removed_at IS NULL AND unused_since < ?2 ORDER BY unused_since LIMIT 1
    ) RETURNING twist, number, bundle
    """

_DROP_FILES: Final = """
    DELETE FROM bundle_files WHERE bundle = ?1
    AND NOT EXISTS (SELECT 1 FROM versions WHERE bundle = ?1 AND removed_at IS NULL)
    AND NOT EXISTS (
        SELECT 1 FROM version_packages p JOIN versions v ON v.twist = p.twist AND v.number = p.number
        WHERE p.bundle = ?1 AND v.removed_at IS NULL
    )
    """


def forget_bundles(tx: Transaction, keep: int, before: Micros, at: Micros) -> int:
    """Remove the files of one version that has been out of use since before a time; returns how many there were.

    The newest `keep` of a twist are in use whether an instance is in them or not. One at a time: it may have many files.
    """
    tx.run(_LEFT, (at, keep))
    tx.run(_USED_AGAIN, (keep,))
    removed = tx.rows(_REMOVE, (at, before))
    for twist, number, bundle in removed:
        stands_on = tx.rows("SELECT bundle FROM version_packages WHERE twist = ? AND number = ?", (twist, number))
        for dropped in ((bundle,), *stands_on):
            tx.run(_DROP_FILES, dropped)
    return len(removed)
