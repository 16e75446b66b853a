"""The keys that the vault seals with: which master key is in force, and each instance's wrapped data key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import DataKey, Sealed
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.scheduling import load

MASTER_KEY: Final = "SELECT id FROM master_key"
DATA_KEY: Final = "SELECT wrapped FROM data_keys WHERE instance = ?"
DATA_KEYS: Final = """
    SELECT instance, master, wrapped FROM data_keys WHERE master < ?1
    UNION ALL
    SELECT instance, master, wrapped FROM data_keys WHERE master > ?1
    LIMIT ?2
    """

SEALED_OF: Final = """
    SELECT * FROM (
        SELECT i.id AS instance, (SELECT wrapped FROM data_keys WHERE instance = i.id) AS key,
            (SELECT sealed FROM secrets WHERE instance = i.id) AS options,
            EXISTS (SELECT 1 FROM webhooks WHERE instance = i.id AND secret IS NOT NULL) AS hooks
        FROM instances i WHERE i.status NOT IN ('gone', 'erased')
    ) WHERE instance > ? AND (key IS NOT NULL OR options IS NOT NULL OR hooks) ORDER BY instance LIMIT ?
    """

_KEEP: Final = "INSERT INTO data_keys (instance, master, wrapped) VALUES (?, ?, ?) ON CONFLICT (instance) DO NOTHING"
_REWRAP: Final = "UPDATE data_keys SET master = ?, wrapped = ? WHERE instance = ? AND wrapped = ?"


def sealed_record(row: Row) -> Sealed:
    """Return what a row of `SEALED_OF` says is sealed."""
    instance, key, options, webhooks = row
    return Sealed(instance=instance, key=key, options=options, webhooks=bool(webhooks))


def adopt_master_key(tx: Transaction, new: str, instead_of: str | None) -> str:
    """Put a master key in force unless another one than `instead_of` is; returns the one that is in force then."""
    in_force: str | None = tx.value(MASTER_KEY)
    if in_force != instead_of:
        return in_force or ""
    tx.run("INSERT INTO master_key (only, id) VALUES (1, ?1) ON CONFLICT DO UPDATE SET id = ?1", (new,))
    return new


def keep_data_key(tx: Transaction, key: DataKey) -> bytes:
    """Give an instance its data key, unless it has one; returns the one that it has.

    Raises:
        UnknownInstance: it is not there.
        DoesNotApply: another master key than the one that wrapped it is in force.
    """
    load(tx, key.instance)
    insert_data_key(tx, key)
    kept: bytes = tx.value(DATA_KEY, (key.instance,))
    return kept


def insert_data_key(tx: Transaction, key: DataKey) -> None:
    """Write an instance's data key, unless it has one. Raises DoesNotApply."""
    if tx.value(MASTER_KEY) != key.master:
        raise DoesNotApply("another master key has come into force meanwhile: try again")
    tx.run(_KEEP, (key.instance, key.master, key.wrapped))


def rewrap(tx: Transaction, keys: Sequence[tuple[DataKey, DataKey]]) -> None:
    """Replace data keys by the same ones wrapped anew; one that is another by now, or gone, is left."""
    tx.run_many(_REWRAP, [(new.master, new.wrapped, old.instance, old.wrapped) for old, new in keys])
