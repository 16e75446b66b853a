"""What a process is told of its event: the execution, the limits, and what it would else have to ask for at once.

A small store goes along, and with it how many bytes of writes the host is known to have room for: a method that reads and writes a little
then waits for nobody. Before: `attempt`, which has a process. After: the wire, and `guest.channel`, whose Start this is.
"""

from __future__ import annotations

import secrets

from ropewalk.answers.interface import AnswerLimits, Session
from ropewalk.clock import Micros
from ropewalk.dispatch.versions import LoadedVersion
from ropewalk.storage.interface import StorageError
from ropewalk.storage.records import Instance
from ropewalk.wire.messages import Json, PriorityRecord, Start

_STORE_BROUGHT = 4096
"""Most bytes of a store that go to the process with its event: what is larger is asked for as needed."""

_VALUES_BROUGHT = 64
_AHEAD = 32 * 1024
"""Bytes of calls of which no more changes can come than an attempt may make: as long as it has said no more, its writes have room."""

_TASKS_AHEAD = 1_000
"""More tasks than can be asked for in so many bytes."""


async def start_message(session: Session, loaded: LoadedVersion, priority: PriorityRecord, started_at: Micros) -> Start:
    """Return the first message to the process of an attempt."""
    claim, limits = session.claim, loaded.limits
    instance, execution = claim.instance, claim.execution
    store = await _small_store(session)
    return Start(
        execution=execution.id,
        attempt=execution.attempt,
        instance=instance.id,
        version=instance.version,
        previous_version=claim.previous_version,
        trigger=execution.trigger,
        target=execution.target,
        event=execution.event,
        options=session.options.told,
        priority=priority,
        seed=secrets.token_bytes(16),
        started_at=started_at,
        cpu=limits.cpu,
        wall=limits.wall,
        requests=limits.requests,
        logs=limits.logs,
        value=session.host.limits.value,
        store=store,
        # What leaves is refused its tasks, and may catch that: it waits for each answer.
        ahead=_AHEAD if _has_room(instance, session.host.limits) and execution.trigger != "deactivate" else 0,
        task_ids=secrets.token_hex(10),
    )


async def _small_store(session: Session) -> dict[str, dict[str, Json]] | None:
    """Return the instance's whole store when it is small."""
    instance = session.claim.instance
    if not instance.store_bytes:
        return {}
    if instance.store_bytes > _STORE_BROUGHT:
        return None
    try:
        return await session.host.storage.read_small_store(instance.id, _VALUES_BROUGHT)
    except StorageError:
        return None  # the guest asks for what it needs, and gets to know


def _has_room(instance: Instance, limits: AnswerLimits) -> bool:
    """Whether the instance is far from the limits of what its executions may add."""
    return (
        limits.store - instance.store_bytes > 2 * _AHEAD
        and limits.queue_bytes - instance.pending_bytes > 2 * _AHEAD
        and limits.queue - instance.pending > _TASKS_AHEAD
    )
