"""`ropewalk replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.failures import WRONG_USAGE, Failed
from ropewalk.cli.common.output import emit, safe, safe_entry, say, short_time, waiting
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.replay.rerun import Replayed
    from ropewalk.service.replaying import Recorded
    from ropewalk.service.service import Service
    from ropewalk.wire.messages import Log


@click.command(
    "replay",
    cls=Command,
    settings=[*running_settings(), "package_index", "package_builds", "package_timeout"],
    examples=(
        ("ropewalk replay 3f9a", "the last attempt at the execution whose id begins so, on the version that it ran"),
        ("ropewalk replay 3f9a --code .", "on the code in this folder: is it mended?"),
        ("ropewalk replay 3f9a --pdb", "in Python's debugger, at the other end of the sandbox's socket"),
    ),
)
@click.argument("execution", metavar="EXECUTION")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Which attempt; the last that has a record unless told.")
@click.option("--code", type=click.Path(path_type=Path), metavar="PATH", help="Run this code in place of the version's own.")
@click.option("--pdb", is_flag=True, help="Stop in the debugger: where it differs, at its exception, at breakpoint().")
@click.option("--trust", is_flag=True, help="Run it in this process, without any sandbox. For code that you trust only.")
@pass_state
def command(state: State, execution: str, attempt: int | None, code: Path | None, *, pdb: bool, trust: bool) -> None:
    """Run a recorded execution again, in the sandbox, with no effect on anything.

    Every host call and HTTP request is answered from the record, time goes on from when it was, and random numbers are the same. It stops
    where it first differs from the record. Exits 0 when all was the same, 1 when it was not or could not go on.

    With --pdb it stops in Python's debugger, on the first line too unless an exception ended the attempt.
    """
    if pdb and state.json:
        raise Failed("UsageError", "--pdb is for people and --json for programs: take one", exit_code=WRONG_USAGE)
    logs = Logs(state)
    if trust:
        found, replayed = _replay_here(state, execution, attempt, code, logs, pdb=pdb)
    else:
        found, replayed = state.run(lambda: _replay(state, execution, attempt, code, logs, pdb=pdb))
    document = _document(found, replayed, logs)
    if not replayed.same:
        told = _told(replayed)
        raise Failed("Differs" if replayed.difference else "Left", told.partition("\n")[0], told=told, document=document)
    if state.json:
        emit(document)
    else:
        say(_told(replayed))


async def _replay(
    state: State, text: str, attempt: int | None, code: Path | None, logs: Logs, *, pdb: bool
) -> tuple[Recorded, Replayed]:
    from ropewalk.cli.common.terminal import Terminal
    from ropewalk.replay.rerun import replay
    from ropewalk.service.replaying import image_of, image_of_code

    async with state.service() as service:
        found = await _found(state, service, text, attempt)
        with waiting("Starting the sandbox") as words:
            source = await service.sandbox(found.script.record.hash_seed)
            image = await (image_of(service, found) if code is None else image_of_code(service, found, code, words))
        return found, await replay(source, image, found.script, on_log=logs.take, person=Terminal() if pdb else None)


def _replay_here(
    state: State, text: str, attempt: int | None, code: Path | None, logs: Logs, *, pdb: bool
) -> tuple[Recorded, Replayed]:
    from ropewalk.cli.common.trusted import Place, place_of_code, replay_here
    from ropewalk.service.replaying import image_of

    async def found_and_place() -> tuple[Recorded, Place]:
        async with state.service() as service:
            found = await _found(state, service, text, attempt)
            if code is not None:
                return found, place_of_code(code, state.settings.database_path)
            image = await image_of(service, found)
            folder = state.settings.bundles_directory.absolute() / image.bundle
            return found, Place(folder=folder, module=image.module, cls=image.cls)

    found, place = state.run(found_and_place)
    say("--trust: this runs the twist's code in this process, without any sandbox; it can do whatever you can.")
    return found, replay_here(found.script, place, on_log=logs.take, debug=pdb)


async def _found(state: State, service: Service, text: str, attempt: int | None) -> Recorded:
    from ropewalk.service.lookup import find_execution
    from ropewalk.service.replaying import recorded

    found = await recorded(service, await find_execution(service.storage, text), attempt)
    if not state.json:
        say(f"Replaying attempt {found.attempt} of execution {found.execution.id} ({_name(found)}).")
    return found


class Logs:
    """The log lines of a replay: shown to a person as they come, kept for a program."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.kept: list[dict[str, Any]] = []

    def take(self, line: Log) -> None:
        """Take a line."""
        from ropewalk.service.shapes import json_shape, level_shape, time_shape

        shape: dict[str, Any] = {
            "time": time_shape(line.time),
            "level": level_shape(line.level),
            "message": line.message,
            "fields": json_shape(line.fields),
        }
        if self._state.json:
            self.kept.append(shape)
        else:
            click.echo(f"{short_time(shape['time'])}  {shape['level']:<8}  {safe_entry(line.message)}")


def _name(found: Recorded) -> str:
    from ropewalk.service.shapes import method_shape

    return f"{method_shape(found.execution.target)}, version {found.version}"


def _document(found: Recorded, replayed: Replayed, logs: Logs) -> dict[str, Any]:
    difference = replayed.difference
    return {
        "execution": found.execution.id,
        "attempt": found.attempt,
        "version": found.version,
        "same": replayed.same,
        "outcome": None if replayed.end is None else _end(replayed.end),
        "recorded": _end(replayed.recorded),
        "difference": None
        if difference is None
        else {
            "what": difference.what,
            "recorded": difference.recorded,
            "replayed": difference.replayed,
            "where": difference.where,
        },
        "notes": replayed.notes,
        "logs": logs.kept,
    }


def _end(end: Any) -> dict[str, Any]:
    from ropewalk.service.shapes import error_shape

    return {"status": end.status, "result": end.result, "error": error_shape(end.error)}


def _told(replayed: Replayed) -> str:
    from ropewalk.replay.player import in_words

    lines: list[str] = []
    difference = replayed.difference
    if difference is not None:
        lines += [_HEADS[difference.what], f"  recorded: {difference.recorded or 'nothing more'}"]
        lines += [f"  now:      {difference.replayed or 'nothing'}", *(f"  at {line}" for line in reversed(difference.where))]
    elif replayed.left:
        lines.append("The debugger was left before the end.")
    elif replayed.end is not None:
        lines.append(f"The same: {in_words(replayed.end)}.")
    lines += [f"Note: {note}." for note in replayed.notes]
    return safe("\n".join(lines), lines=True)


_HEADS = {
    "call": "The replay differs at a call.",
    "outcome": "The replay ends otherwise.",
    "record": "The replay cannot go on.",
}
