"""Replays of a finished episode's records: each has to show what was recorded, with nothing else at hand than the record."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from ropewalk.replay.rerun import replay
from ropewalk.service.replaying import CannotReplay, image_of, recorded
from ropewalk.storage.records import ExecutionQuery
from tests.crash.services import open_service
from tests.harness.clock import SteppedClock


def differences(database: Path, seed: str, most: int, *, sandboxed: bool) -> list[str]:
    """Return what shows otherwise than it was recorded, of up to `most` attempts that are drawn."""
    return asyncio.run(_differences(database, random.Random(f"replays {seed}"), most, sandboxed=sandboxed))


async def _differences(database: Path, chance: random.Random, most: int, *, sandboxed: bool) -> list[str]:
    faults: list[str] = []

    def journal(**line: Any) -> None:
        faults.append(f"a replay went wrong: {line}")

    service = await open_service(database, SteppedClock(), journal, "http://nowhere.example", sandboxed=sandboxed)
    source = await service.sandbox()
    attempts = [
        (one, number)
        for one in await service.storage.executions(ExecutionQuery(limit=None))
        if await service.storage.instance(one.instance) is not None
        for number in await service.storage.recorded(one.id)
    ]
    for execution, number in chance.sample(attempts, min(most, len(attempts))):
        what = f"attempt {number} of {execution.target.method} {execution.id}"
        try:
            found = await recorded(service, execution, number)
            replayed = await replay(source, await image_of(service, found), found.script, on_log=lambda _: None)
        except (CannotReplay, KeyError) as error:  # KeyError: it answers what was never asked, which no record does
            faults.append(f"{what} cannot be replayed: {error!r}")
        else:
            if not replayed.same:
                faults.append(f"{what} is another when it is replayed: {replayed.difference}")
    await service.close()
    return faults
