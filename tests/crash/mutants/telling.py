"""Bugs in what is told of executions: log lines and records."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ropewalk.dispatch.lines import Lines
from ropewalk.recording.tape import Tape
from ropewalk.storage.sqlite import recording, scheduling, storage
from tests.crash.mutants.planting import mutant, put


@mutant
def log_lines_are_told_twice() -> None:
    """Lines that were stored while the attempt went on go along with its settlement too."""
    put(Lines, take=lambda self: list(self._kept))


@mutant
def records_are_stored_before_the_settlement() -> None:
    """The record of an attempt is a transaction of its own."""
    settle = storage.SqliteStorage.settle

    async def settling_in_two(self: storage.SqliteStorage, settlement: Any) -> Any:
        def keep(tx: Any) -> None:
            state = scheduling.load(tx, settlement.instance)
            number = tx.value("SELECT n FROM executions WHERE id = ?", (settlement.execution,))
            recording.keep_record(tx, state, number, settlement)
            scheduling.save(tx, state, settlement.at)

        if settlement.record is not None:
            await self._write(keep)
        return await settle(self, replace(settlement, record=None))

    put(storage.SqliteStorage, settle=settling_in_two)


@mutant
def requests_are_not_taken_down() -> None:
    """Records lack the requests that were sent."""
    take = Tape.take

    def taking(self: Tape, message: bytes) -> None:
        if message[1:7] != b"\xa5fetch":
            take(self, message)

    put(Tape, take=taking)
