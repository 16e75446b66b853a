"""Waiting for executions: where a node runs this database, it is waited for; where none does, they run here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import say, waiting

if TYPE_CHECKING:
    from ropewalk.service.service import Service
    from ropewalk.storage.records import Execution

_POLL = 0.01
_LONGEST_POLL = 0.1
_PATIENCE = 2.0
"""Seconds for which a queued execution is left to the nodes that are there: one that drains, or serves one instance, may never take it."""


async def finished(service: Service, execution: str, what: str) -> Execution:
    """Wait until an execution is over and return it, running it here when no node does.

    Raises:
        Failed: it is gone, its instance was suspended before it could run, or the node that ran here lost its lease.
    """
    try:
        with waiting(what) as words:
            found = await _watched(service, execution, lambda one: words(f"{what}{_progress(one)}"))
            if found is not None and found.status in _pending() and not await service.is_held(found):
                found = await _run_here(service, execution)
    except asyncio.CancelledError:
        short = execution[:12]
        say(f"Execution {short} is not over: `ropewalk execution {short}` shows it, `ropewalk cancel {short}` ends it.")
        raise
    if found is None:
        raise Failed("NotFound", f"execution {execution} is gone: its instance was deactivated")
    if found.status in _pending():
        raise await _held(service, found)
    return found


async def _held(service: Service, execution: Execution) -> Failed:
    """Return what is said of an execution that nobody can wait for, since its instance was suspended before it could run."""
    from ropewalk.service.actions import hold_of

    instance = await service.storage.instance(execution.instance)
    why = (instance and hold_of(instance)) or "its instance was suspended for a moment"
    text = f"execution {execution.id} waits: {why}. `ropewalk cancel {execution.id[:12]}` takes the execution back"
    return Failed("Suspended", text, document={"execution": execution.id})


async def _watched(service: Service, execution: str, seen: Callable[[Execution], None]) -> Execution | None:
    """Follow an execution while a node runs the database; returns it over, or still waiting when no node takes it."""
    pause, waited = _POLL, 0.0
    while True:
        found = await service.storage.execution(execution)
        if found is None or found.status not in _pending():
            return found
        taken = found.status == "running" or found.attempt > 0
        if not service.has_live_node() or (not taken and waited > _PATIENCE) or await service.is_held(found):
            return found
        seen(found)
        await asyncio.sleep(pause)
        waited += pause
        pause = min(_LONGEST_POLL, pause * 1.2)


async def _run_here(service: Service, execution: str) -> Execution | None:
    """Be a node for the execution's instance until the execution is over."""
    from ropewalk.service.node import Node, NodeLost

    found = await service.storage.execution(execution)
    if found is None:
        return None
    try:
        return await Node(service, only=found.instance).run_until_finished(execution)
    except NodeLost as error:
        raise Failed("NodeLost", str(error)) from error


def _pending() -> tuple[str, ...]:
    from ropewalk.storage.records import PENDING

    return PENDING


def _progress(execution: Execution) -> str:
    """Return how far an execution is, in words."""
    if execution.status == "retrying" and execution.error is not None:
        return f": attempt {execution.attempt} failed with {execution.error.type}, it runs again soon"
    return f": {execution.status}"


def raise_unless_succeeded(execution: Execution, document: dict[str, Any]) -> None:
    """Raise an execution's error as the command's, with `document` beside it for programs.

    Raises:
        Failed: the execution did not succeed.
    """
    if execution.status == "succeeded":
        return
    if execution.error is None:
        raise Failed(execution.status, f"execution {execution.id} was {execution.status}", document=document)
    error = execution.error
    told = f"{error.type}: {error.message}" if error.message else error.type
    hint = f"\n`ropewalk execution {execution.id[:12]}` shows its traceback and logs."
    raise Failed(error.type, error.message or error.type, told=told + hint, document=document)
