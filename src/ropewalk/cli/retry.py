"""`ropewalk retry`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.output import say, show, waiting
from ropewalk.cli.common.state import State, pass_state

_AT_ONCE = 200


@click.command(
    "retry",
    cls=Command,
    examples=(
        ("ropewalk retry 3f9a", "run the dead execution whose id begins so once more"),
        ("ropewalk retry --twist issue-sync --since 2h --dry-run", "how many died in the last two hours"),
        ("ropewalk retry --status dead --error NetworkError --yes", "all that the network killed, unasked"),
    ),
)
@click.argument("execution", metavar="[EXECUTION]", required=False)
@click.option("--status", type=click.Choice(("dead", "failed", "retrying")), help="All with this status.  [default: dead]")
@click.option("--instance", metavar="INSTANCE", help="Only those of this instance.")
@click.option("--twist", metavar="TWIST", help="Only those of this twist.")
@click.option("--method", metavar="METHOD", help="Only those of this method; a tool's path may stand before it.")
@click.option("--error", metavar="TYPE", help="Only those that ended with this type of error, such as timeout.")
@click.option("--since", metavar="WHEN", help="Only those that ended since then: 2h, 30m, or a time such as 2026-05-01T09:00Z.")
@click.option("--dry-run", is_flag=True, help="Say which, and leave them as they are.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_state
def command(
    state: State,
    execution: str | None,
    status: str | None,
    instance: str | None,
    twist: str | None,
    method: str | None,
    error: str | None,
    since: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Queue failed, dead or backing-off executions again, their attempts counted anew: one, or all that the options say.

    They run in the version that their instance has now. Retrying a dead activation makes its instance activating again.
    """
    wanted = {"status": status, "instance": instance, "twist": twist, "method": method, "error": error, "since": since}
    filters = {name: value for name, value in wanted.items() if value is not None}
    if (execution is None) == (not filters):
        raise click.UsageError(
            "name one EXECUTION, or say which with --status, --instance, --twist, --method, --error or --since"
        )
    if execution is not None:
        found = state.run(lambda: _retry(state, execution))
        show(state, {"execution": found, "status": "queued"}, lambda: say(f"Execution {found} is queued again."))
        return
    executions = state.run(lambda: _failures(state, filters))
    if not dry_run and executions and not yes and not state.json and sys.stdin.isatty():
        click.confirm(f"Queue {_counted(len(executions))} again?", abort=True, err=True)
    skipped = [] if dry_run else state.run(lambda: _retry_all(state, executions))
    left = {one["execution"] for one in skipped}
    done = [one for one in executions if one not in left]
    document = {"count": len(done), "executions": done, "skipped": skipped, "dry_run": dry_run}
    show(state, document, lambda: _tell(len(done), skipped, dry_run=dry_run))


def _counted(count: int) -> str:
    return f"{count:,} execution{'' if count == 1 else 's'}"


def _tell(count: int, skipped: list[dict[str, str]], *, dry_run: bool) -> None:
    say(f"{_counted(count)} would be queued again." if dry_run else f"{_counted(count)} queued again.")
    for one in skipped:
        say(f"Left alone: {one['reason']}")


async def _retry(state: State, text: str) -> str:
    from ropewalk.service.lookup import find_execution

    async with state.service() as service:
        found = await find_execution(service.storage, text)
        await service.storage.retry(found.id, service.clock.now())
        service.ring()
        return found.id


async def _failures(state: State, filters: dict[str, str]) -> list[str]:
    from ropewalk.service.lookup import find_instance, find_twist
    from ropewalk.storage.records import FailureQuery

    async with state.service() as service:
        instance, twist, since = filters.get("instance"), filters.get("twist"), filters.get("since")
        query = FailureQuery(
            status=filters.get("status", "dead"),  # type: ignore[arg-type]  # click has checked it
            instance=None if instance is None else (await find_instance(service.storage, instance)).id,
            twist=None if twist is None else (await find_twist(service.storage, twist)).id,
            method=filters.get("method"),
            error=filters.get("error"),
            since=None if since is None else _time(since, service.clock.now()),
        )
        return await service.storage.failures(query)


def _time(text: str, now: int) -> int:
    """Return the time that a text says, or that is so long ago."""
    from ropewalk.clock import from_datetime
    from ropewalk.service.config import parse_duration

    try:
        return now - round(parse_duration(text) * 1e6)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither a duration such as 2h nor a time such as 2026-05-01T09:00Z", param_hint="--since"
        ) from None
    return from_datetime(found if found.tzinfo else found.replace(tzinfo=UTC))


async def _retry_all(state: State, executions: list[str]) -> list[dict[str, str]]:
    """Queue executions again, in their order, and return those that could not be, with the reason."""
    from ropewalk.storage.interface import DoesNotApply

    skipped: list[dict[str, str]] = []
    async with state.service() as service:
        with waiting(f"Queueing {_counted(len(executions))}") as tell:
            for start in range(0, len(executions), _AT_ONCE):
                some = executions[start : start + _AT_ONCE]
                now = service.clock.now()
                answers = await asyncio.gather(*(service.storage.retry(one, now) for one in some), return_exceptions=True)
                for one, answer in zip(some, answers, strict=True):
                    if isinstance(answer, DoesNotApply):
                        skipped.append({"execution": one, "reason": str(answer)})
                    elif answer is not None:
                        raise answer
                tell(f"Queued {start + len(some):,} of {_counted(len(executions))}")
                service.ring()
    return skipped
