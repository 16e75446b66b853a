"""The version that an instance is in, and those that it goes to or waits for."""

from __future__ import annotations

from typing import Final

from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.scene import Scene
from ropewalk.storage.sqlite.rows import InstanceState
from ropewalk.storage.sqlite.upgrading import LEAVING, cancel_upgrades, offer_nothing_more


def versions(scene: Scene) -> Checking:
    """Yield a version that is not there, or that there is no way to."""
    yield from _target(scene)
    yield from _own(scene)
    yield from _offered(scene)


def _target(scene: Scene) -> Checking:
    tx, state = scene.tx, scene.state
    if state.target_version is None:
        return
    if not scene.is_version(state.target_version):

        def stay() -> None:
            state.upgrade_error = f"version {state.target_version} got lost: deploy again"
            cancel_upgrades(tx, state, scene.at)

        yield Fault(
            "missing_target_version",
            f"instance {state.id} waits for an upgrade to version {state.target_version}, which is not there",
            "it goes on in its own version, and says so",
            stay,
        )
    elif state.target_version <= state.version and state.running is None:
        yield Fault(
            "target_not_newer",
            f"instance {state.id} is in version {state.version}, and waits for an upgrade to {state.target_version}",
            "it goes on in its own version",
            lambda: cancel_upgrades(tx, state, scene.at),
        )


def _own(scene: Scene) -> Checking:
    tx, state = scene.tx, scene.state
    if scene.is_version(state.version):
        return
    newest = tx.value("SELECT max(number) FROM versions WHERE twist = ?", (state.twist,))
    leads_on = newest is not None and newest > state.version and state.status == "active"
    if leads_on and state.target_version is not None:
        return

    def move_on() -> None:
        state.target_version = newest
        scene.add("upgrade")

    yield Fault(
        "missing_version",
        f"instance {state.id} is of version {state.version}, which is not there",
        f"it upgrades to version {newest}" if leads_on else "deploy a new version, or restore the database from a backup",
        move_on if leads_on else None,
    )


_OFFER_AGAIN: Final = "UPDATE instances SET offered = ?, awaiting = NULL WHERE id = ?"


def _offered(scene: Scene) -> Checking:
    tx, state = scene.tx, scene.state
    offered: int = tx.value("SELECT offered FROM instances WHERE id = ?", (state.id,))
    if state.status == "deactivating" and (offered != LEAVING or state.awaiting is not None):
        yield Fault(
            "offered_while_leaving",
            f"instance {state.id} is being deactivated, and new versions would be offered to it",
            "none is",
            lambda: offer_nothing_more(tx, state.id),
        )
    elif state.status != "deactivating" and not _follows(state, offered):
        what = f"was offered version {offered}" if state.awaiting is None else f"waits for a grant of version {state.awaiting}"
        yield Fault(
            "offered_out_of_order",
            f"instance {state.id} is in version {_goes_to(state)}, and {what}",
            "what is newer is offered to it again",
            lambda: tx.run(_OFFER_AGAIN, (_goes_to(state), state.id)),
        )


def _follows(state: InstanceState, offered: int) -> bool:
    """Whether what an instance was offered, and may wait for, goes with the version that it is in and what was granted to it."""
    if state.awaiting is None:
        return offered >= _goes_to(state)
    return offered == state.awaiting > max(state.granted, _goes_to(state))


def _goes_to(state: InstanceState) -> int:
    """Return the newest version that an instance is in or is being upgraded to."""
    return max(state.version, state.target_version or 0)
