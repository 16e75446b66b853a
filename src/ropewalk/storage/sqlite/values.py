"""Values of the store that are written from outside an execution."""

from __future__ import annotations

from collections.abc import Mapping

from ropewalk.clock import Micros
from ropewalk.storage.interface import StorageUnavailable, UnknownInstance
from ropewalk.storage.records import AnyEffect, DropValue, PutValue
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.effects import apply_effects
from ropewalk.storage.sqlite.scheduling import load, save
from ropewalk.wire.messages import Json


def write_values(tx: Transaction, instance: str, ns: str, values: Mapping[str, Json | None], at: Micros) -> None:
    """Write or (None) remove values.

    Raises:
        UnknownInstance: the instance is not there, or being deactivated.
        StorageUnavailable: an execution of it runs and may have read what would change.
        DoesNotApply: its store would be too large.
    """
    state = load(tx, instance)
    if state.status == "deactivating":
        raise UnknownInstance(f"instance {instance} is being deactivated")
    if state.running is not None:
        raise StorageUnavailable(f"an execution of instance {instance} is running: its store can be written when that has ended")
    effects: list[AnyEffect] = [
        DropValue(ns=ns, key=key) if value is None else PutValue(ns=ns, key=key, value=value) for key, value in values.items()
    ]
    apply_effects(tx, state, effects, at)
    save(tx, state, at)
