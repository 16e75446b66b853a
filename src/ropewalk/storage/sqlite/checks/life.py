"""Where an instance is in its life: the lifecycle method that it waits for is there, and no other."""

from __future__ import annotations

from functools import partial

from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.scene import Scene
from ropewalk.storage.sqlite.upgrading import offer_nothing_more
from ropewalk.wire.messages import Trigger


def lifecycle(scene: Scene) -> Checking:
    """Yield a step of its life that got lost half-way, or was begun by half."""
    state = scene.state
    if state.status == "activating" and not scene.has_pending("activate"):
        yield _half_activated(scene)
    if state.status == "failed" and scene.last_status("activate") not in ("dead", "failed", "cancelled"):
        yield _failed_for_nothing(scene)
    if state.status == "deactivating" and not scene.has_pending("deactivate"):
        yield _half_deactivated(scene)
    if state.target_version is not None and not scene.has_pending("upgrade"):
        yield Fault(
            "upgrade_without_execution",
            f"instance {state.id} waits for an upgrade to version {state.target_version}, but has none to run",
            "it is queued again",
            lambda: scene.add("upgrade"),
        )
    yield from _misplaced(scene)


def _half_activated(scene: Scene) -> Fault:
    state, last = scene.state, scene.last_status("activate")

    def take_up() -> None:
        if last in ("dead", "failed", "cancelled"):
            state.status = "failed"
        elif last == "succeeded":
            state.status = "active"
        else:
            scene.add("activate")

    remedies = {None: "it is queued again", "succeeded": "it is active: its activation is over"}
    return Fault(
        "activating_without_activate",
        f"instance {state.id} is activating, but has no activate to run",
        remedies.get(last, "it is failed, as its activation is"),
        take_up,
    )


def _failed_for_nothing(scene: Scene) -> Fault:
    state, last = scene.state, scene.last_status("activate")

    def take_up() -> None:
        state.status = "active" if last == "succeeded" else "activating"
        if last is None:
            scene.add("activate")

    remedies = {None: "it is queued again", "succeeded": "it is active: its activation is over"}
    return Fault(
        "failed_without_activate",
        f"instance {state.id} is failed, and there is no activate of it that failed",
        remedies.get(last, "it is activating: its activate is not over"),
        take_up,
    )


def _half_deactivated(scene: Scene) -> Fault:
    state, last = scene.state, scene.last_status("deactivate")

    def take_up() -> None:
        if last is None:
            scene.add("deactivate")
        else:
            state.status = "gone"

    return Fault(
        "deactivating_without_deactivate",
        f"instance {state.id} is deactivating, but has no deactivate to run",
        "it is queued again" if last is None else "it is deactivated: its deactivate is over",
        take_up,
    )


def _misplaced(scene: Scene) -> Checking:
    """Yield lifecycle executions that wait though the instance is not where they would run."""
    state = scene.state
    if state.status != "deactivating":

        def fence() -> None:
            state.status, state.suspension, state.target_version, state.held = "deactivating", None, None, None
            offer_nothing_more(scene.tx, state.id)

        for _, id_, _ in scene.waits("deactivate")[:1]:
            yield Fault(
                "deactivate_without_fence",
                f"execution {id_} waits to deactivate instance {state.id}, which is {state.status}",
                "the instance is fenced off",
                fence,
                execution=id_,
            )
    unwanted: list[Trigger] = []
    if state.status != "activating":
        unwanted.append("activate")
    if state.target_version is None:
        unwanted.append("upgrade")
    for trigger in unwanted:
        for number, id_, size in scene.waits(trigger):
            yield Fault(
                "lifecycle_out_of_place",
                f"execution {id_} waits to {trigger} instance {state.id}, which is {state.status} in version {state.version}",
                "it is cancelled",
                partial(scene.cancel, number, size),
                execution=id_,
            )
