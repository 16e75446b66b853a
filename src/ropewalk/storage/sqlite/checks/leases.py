"""An instance's lease: somebody has it under whom something runs, and otherwise the instance is claimed when its work is due."""

from __future__ import annotations

from typing import Final

from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.scene import INTO_LINE, Scene
from ropewalk.storage.sqlite.nodes import release_instance
from ropewalk.storage.sqlite.scheduling import give_back, wake_time

_RUNNING: Final = "SELECT status, attempt, version, node, started_at FROM executions WHERE n = ? AND instance = ?"


def lease(scene: Scene) -> Checking:
    """Yield a lease under which nothing runs, or that will not end."""
    tx, state = scene.tx, scene.state
    running = tx.row(_RUNNING, (state.running, state.id))
    if state.node is None and state.running is None:
        return
    if running is None or running[0] != "running" or state.node is None:

        def give_up() -> None:
            state.epoch += 1
            give_back(state)

        yield Fault(
            "lease_without_execution", f"instance {state.id} is leased, but nothing of it runs", "the lease is ended", give_up
        )
    elif running[1] < 1 or None in running or running[3] != state.node:

        def put_back() -> None:
            state.epoch += 1
            number = state.running
            give_back(state)
            tx.run(INTO_LINE, (state.take_seq(), scene.at, number))

        yield Fault(
            "running_without_attempt",
            f"an execution of instance {state.id} is running, and nothing says as which attempt of which node",
            "it is ready again",
            put_back,
        )
    elif tx.value("SELECT 1 FROM nodes WHERE id = ?", (state.node,)) is None:
        yield Fault(
            "lease_of_unknown_node",
            f"instance {state.id} is leased to node {state.node}, which is not known",
            "the lease is ended, and what ran is ready again",
            lambda: release_instance(tx, state, scene.at),
        )


def wake(scene: Scene) -> Checking:
    """Yield a `wake_at` that is not what follows; mending needs nothing here, since saving the row computes it."""
    state, at = scene.state, scene.at
    wanted = wake_time(scene.tx, state, at)
    if wanted is None and state.wake_at is not None:
        yield Fault(
            "wake_without_work", f"instance {state.id} is to be claimed, but nothing of it may run", "it is not", _nothing
        )
    elif wanted is not None and state.wake_at is None:
        yield Fault(
            "no_wake", f"instance {state.id} has work, but will never be claimed", "it will be, when its work is due", _nothing
        )
    elif wanted is not None and state.wake_at is not None and state.wake_at > max(wanted, at):
        what = f"instance {state.id} is to be claimed later than its first event is due"
        yield Fault("late_wake", what, "it is claimed when that is due", _nothing)


def _nothing() -> None:
    """Mend by saving."""
