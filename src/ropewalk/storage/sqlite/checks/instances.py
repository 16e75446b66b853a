"""What must hold of one instance: the checks in their order, each of which sees what those before it have mended."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.leases import lease, wake
from ropewalk.storage.sqlite.checks.life import lifecycle
from ropewalk.storage.sqlite.checks.line import line, out_of_step
from ropewalk.storage.sqlite.checks.recurring import recurring
from ropewalk.storage.sqlite.checks.row import counts, status
from ropewalk.storage.sqlite.checks.scene import Scene
from ropewalk.storage.sqlite.checks.versions import versions
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.storage.sqlite.scheduling import destroy_secrets
from ropewalk.storage.sqlite.upkeep import OWNED


def check_instance(tx: Transaction, state: InstanceState, strays: Collection[int], at: Micros) -> Checking:
    """Yield what is wrong with an instance. `strays` are numbers of its executions that looked out of step."""
    for fault in _faults(Scene(tx, state, at), strays):
        fault.instance = state.id
        yield fault


def _faults(scene: Scene, strays: Collection[int]) -> Checking:
    yield from status(scene)
    yield from lease(scene)
    yield from versions(scene)
    yield from out_of_step(scene, strays)
    yield from line(scene)
    yield from lifecycle(scene)
    yield from recurring(scene)
    yield from wake(scene)
    yield from counts(scene)


# ── An instance that is deactivated ───────────────────────────────────────────────────────────────────────────────────────────

_PENDING: Final = "SELECT id, status FROM executions WHERE n = ? AND status IN ('queued', 'retrying', 'running')"

_CANCEL: Final = "UPDATE executions SET status = 'cancelled', seq = NULL, due = NULL, finished_at = ? WHERE n = ?"

_SECRETS: Final = ("data_keys", "secrets")
"""What the commit that ends an instance destroys."""

_ERASED: Final = (*OWNED, "deliveries")
"""Tables of which nothing is left of an instance that is erased."""


def check_leaving(tx: Transaction, state: InstanceState, strays: Collection[int], at: Micros) -> Checking:
    """Yield what is wrong with an instance that is deactivated: something of it still runs, or is there for ever."""
    scene = Scene(tx, state, at)
    for number in strays:
        row = tx.row(_PENDING, (number,))
        if row is not None:
            yield Fault(
                "pending_after_deactivation",
                f"execution {row[0]} is {row[1]}, and its instance {state.id} is deactivated",
                "it is cancelled",
                partial(tx.run, _CANCEL, (at, number)),
                instance=state.id,
                execution=row[0],
            )
    if state.node is not None or state.running is not None or state.wake_at is not None:
        yield Fault(
            "deactivated_but_scheduled",
            f"instance {state.id} is deactivated, and leased or to be claimed all the same",
            "it is neither any more",
            lambda: tx.run("UPDATE instances SET node = NULL, running = NULL, wake_at = NULL WHERE id = ?", (state.id,)),
            instance=state.id,
        )
    if scene.has_any(_SECRETS):
        yield Fault(
            "secrets_after_deactivation",
            f"instance {state.id} is deactivated, and its key or its secret options are still there",
            "they are destroyed",
            lambda: destroy_secrets(tx, state.id),
            instance=state.id,
        )
    if state.status == "erased" and scene.has_any(_ERASED):
        yield Fault(
            "leftovers_after_erasure",
            f"instance {state.id} is erased, and something of it is still there",
            "a node erases it again",
            lambda: tx.run("UPDATE instances SET status = 'gone' WHERE id = ?", (state.id,)),
            instance=state.id,
        )
