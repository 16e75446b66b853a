"""`ropewalk doctor`."""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import Columns, safe, say, show, table, text_of, waiting
from ropewalk.cli.common.state import State, pass_state

if TYPE_CHECKING:
    from ropewalk.sandbox.interface import Source
    from ropewalk.service.config import Settings

Shape = dict[str, Any]

_STATES = {"enforced": "ok", "absent": "missing", "below_floor": "below floor", "off": "switched off"}
_FAILING = ("below_floor", "off")


@click.command(
    "doctor",
    cls=Command,
    examples=(
        ("ropewalk doctor", "look at this host and the database, repair what is stuck"),
        ("ropewalk doctor --no-repair --json", "only look, for programs; with the whole profile of the sandbox"),
    ),
)
@click.option("--repair/--no-repair", default=True, help="Mend what is found in the database.  [default: repair]")
@pass_state
def command(state: State, repair: bool) -> None:
    """Check what this host can and cannot isolate, and that nothing in the database is stuck.

    Exits 0 when the database is healthy, or was made so, and isolation is not below the floor.
    """
    result = state.run(lambda: _examine(state, repair=repair))
    complaints = _complaints(result)
    if not state.json:
        _print(result)
    if complaints:
        raise Failed("Unhealthy", "; ".join(complaints), document=result)
    show(state, result, lambda: say("All is well."))


async def _examine(state: State, *, repair: bool) -> Shape:
    with waiting("Looking at this host") as words:
        isolation, profile = await _isolation(state.settings)
        words("Looking at the database")
        database = await _database(state, repair=repair)
    healthy = not database["problems"] and not isolation["below_floor"]
    return {
        "healthy": healthy,
        "isolation": isolation,
        "profile": profile,
        "memory": _memory(state.settings),
        "database": database,
    }


def _memory(settings: Settings) -> Shape:
    """Return how much memory a node that started now would have for executions, and how many that use all they may it could run at once."""
    from ropewalk.sandbox.memory import memory_for_guests

    memory, each = settings.node_memory or memory_for_guests(), settings.limits.memory_bound
    return {"node": memory, "limit": settings.limit_memory, "at_once": min(settings.concurrency, max(1, memory // each))}


async def _isolation(settings: Settings) -> tuple[Shape, Shape | None]:
    """Return what the host's parts promise and whether a sandbox made of them starts; and the sandbox itself, None when none can be made."""
    from ropewalk.sandbox.assessment import assess
    from ropewalk.sandbox.facts import gather_facts
    from ropewalk.sandbox.memory import memory_for_guests
    from ropewalk.sandbox.profile import describe_profile, printable
    from ropewalk.sandbox.source import ForkSource

    facts = await asyncio.to_thread(gather_facts)
    assessment = assess(facts, unsafe=settings.unsafe_no_sandbox)
    findings = [{"means": one.means, "state": one.state, "detail": one.detail} for one in assessment.findings]
    profile: Shape | None = None
    if not assessment.problems:
        memory = settings.node_memory or memory_for_guests()
        profile = printable(describe_profile(facts, str(settings.bundles_directory.absolute()), assessment.profile, memory))
        with tempfile.TemporaryDirectory(prefix="ropewalk-") as folder:
            findings.append(await _trial(ForkSource(folder, facts=facts, unsafe=settings.unsafe_no_sandbox)))
    below_floor = any(finding["state"] in _FAILING for finding in findings)
    return {"below_floor": below_floor, "profile": profile and profile["name"], "findings": findings}, profile


async def _trial(source: Source) -> dict[str, str]:
    """Start a sandbox and end it again."""
    from ropewalk.sandbox.interface import SandboxError

    try:
        await source.start()
    except SandboxError as error:
        return {"means": "trial", "state": "below_floor", "detail": str(error)}
    finally:
        await source.stop()
    return {"means": "trial", "state": "enforced", "detail": "its processes were started here and ended again"}


async def _database(state: State, *, repair: bool) -> Shape:
    """Return what is stuck in the database, what was and is no longer, and what is held by something that a person lifts."""
    from msgspec import to_builtins

    from ropewalk.service.actions import hold_of
    from ropewalk.service.auditing import audit
    from ropewalk.storage.interface import StorageError

    path = str(state.settings.database_path.absolute())
    try:
        async with state.service() as service:
            found = await audit(service, repair=repair)
            held = [hold for instance in await service.storage.instances() if (hold := hold_of(instance)) is not None]
            service.ring()
    except StorageError as error:
        return {"path": path, "healthy": False, "problems": [str(error)], "repaired": [], "findings": [], "held": []}
    problems = [one.what for one in found if not one.repaired]
    return {
        "path": path,
        "healthy": not problems,
        "problems": problems,
        "repaired": [one.what for one in found if one.repaired],
        "findings": [to_builtins(one) for one in found],
        "held": held,
    }


def _complaints(result: Shape) -> list[str]:
    """Return, in words, why the exit code is not 0."""
    below = [f"{one['means']}: {one['detail']}" for one in result["isolation"]["findings"] if one["state"] in _FAILING]
    return [*below, *result["database"]["problems"]]


def _print(result: Shape) -> None:
    click.echo(f"sandbox   {result['isolation']['profile'] or 'cannot be made here'}")
    click.echo()
    columns: Columns = (("isolation", text_of("means")), ("", lambda row: _STATES[row["state"]]), ("detail", text_of("detail")))
    table(result["isolation"]["findings"], columns)
    click.echo()
    memory = result["memory"]
    click.echo(f"memory    {memory['node']:,} bytes: {memory['at_once']} executions of {memory['limit']:,} bytes at once")
    database = result["database"]
    click.echo(f"database  {safe(database['path'])}  {'healthy' if database['healthy'] else 'not healthy'}")
    for found in database["findings"]:
        state, does = ("repaired", "") if found["repaired"] else ("problem", "to mend it: ")
        click.echo(safe(f"  {state}: {found['name']}: {found['what']}; {does}{found['remedy']}"))
    for sentence in database["held"]:
        click.echo(f"  held: {safe(sentence)}")
    if not database["findings"]:
        for sentence in database["problems"]:
            click.echo(f"  problem: {safe(sentence)}")
