"""What the tests of records read of them."""

from __future__ import annotations

from ropewalk.recording.record import Record, opened
from ropewalk.storage.records import Execution
from tests.harness.runtime import Runtime


async def last_record(runtime: Runtime, execution: Execution) -> Record:
    """Return the record of an execution's last attempt."""
    attempt = (await runtime.storage.recorded(execution.id))[-1]
    content = await runtime.storage.record(execution.id, attempt)
    assert content is not None
    sealer = await runtime.service.vault.sealer(execution.instance)
    return opened(content, sealer, execution.id, attempt)


async def last_execution(runtime: Runtime, instance: str, method: str) -> Execution:
    """Return the newest execution of a method."""
    return (await runtime.executions(instance, method))[-1]
