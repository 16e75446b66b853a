"""Options of instances, and their change. The secret ones lie apart, sealed, so that nothing has to leave them out."""

from __future__ import annotations

from typing import Final

from ropewalk.storage.interface import DoesNotApply, UnknownInstance
from ropewalk.storage.records import NewOptions
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.scheduling import add_execution, load, save

OPTIONS: Final = "SELECT options, (SELECT sealed FROM secrets WHERE instance = id) FROM instances WHERE id = ?"

_KEEP: Final = "INSERT INTO secrets (instance, sealed) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET sealed = ?2"


def keep_sealed(tx: Transaction, instance: str, sealed: bytes | None) -> None:
    """Write an instance's secret options; None leaves none."""
    if sealed is None:
        tx.run("DELETE FROM secrets WHERE instance = ?", (instance,))
    else:
        tx.run(_KEEP, (instance, sealed))


def change_options(tx: Transaction, new: NewOptions) -> None:
    """Replace the options that executions start with from now on; one that runs keeps those that it started with.

    Raises:
        UnknownInstance: the instance is not there, or is being deactivated.
        DoesNotApply: its options are no longer those that the change was made from.
    """
    state = load(tx, new.instance)
    if state.status == "deactivating":
        raise UnknownInstance(f"instance {new.instance} is being deactivated: its options stay as they are")
    if tx.row(OPTIONS, (new.instance,)) != new.before:
        raise DoesNotApply(f"the options of instance {new.instance} were changed meanwhile: look at them and try again")
    state.options, sealed = new.after
    keep_sealed(tx, new.instance, sealed)
    if new.hook is not None:
        add_execution(tx, state, new.hook)
    save(tx, state, new.at)
