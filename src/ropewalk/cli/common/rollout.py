"""What `deploy` and `rollback` have in common: their refusals, the wait for the instances, and what people are told."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import bytes_text, safe, say
from ropewalk.cli.common.state import State
from ropewalk.cli.common.waiting import finished, raise_unless_succeeded

if TYPE_CHECKING:
    from ropewalk.service.service import Service
    from ropewalk.storage.records import Execution, Instance


@contextmanager
def refusals() -> Generator[None]:
    """Have what the gate refuses be the command's failure, with what would break for programs."""
    from ropewalk.service.gate import BreaksLive

    try:
        yield
    except BreaksLive as error:
        breaks = [breakage.shape() for breakage in error.breakages]
        raise Failed("LiveCallbacks", str(error), document={"breaks": breaks}) from error


async def see_upgrades_through(state: State, result: dict[str, Any]) -> None:
    """Wait for every `upgrade` that was queued, but of suspended instances; add how it is with each instance to `result` as `instances`.

    Where a version that was deployed meanwhile has put its own in the place of one, that is waited for.

    Raises:
        Failed: an instance did not come to this version or a later one: the first such error, with `result`.
    """
    if "upgrading" not in result:
        return
    over: dict[str, Execution] = {}
    async with state.service() as service:
        awaited = await _that_run(service, result["upgrading"])
        while awaited:
            for number, execution in enumerate(awaited, 1):
                done = await finished(service, execution.id, f"Upgrading {result['twist']} ({number} of {len(awaited)})")
                over[done.instance] = done
            awaited = await _newer(service, {one.instance for one in over.values() if one.status == "cancelled"})
        instances = [one for one in await service.storage.instances() if one.twist_name == result["twist"]]
        result["instances"] = [_outcome(instance, result["version"]) for instance in instances]
    arrived = {one["instance"] for one in result["instances"] if one["outcome"] == "upgraded"}
    for name, execution in over.items():
        if name not in arrived:
            raise_unless_succeeded(execution, result)


async def _that_run(service: Service, upgrades: Iterable[str]) -> list[Execution]:
    """Return those executions that nothing holds."""
    found = [await service.storage.execution(one) for one in upgrades]
    return [one for one in found if one is not None and not await service.is_held(one)]


async def _newer(service: Service, replaced: set[str]) -> list[Execution]:
    """Return the `upgrade` that each of these instances is on its way with, where it is on its way."""
    if not replaced:
        return []
    targets = {(one.twist, one.target_version) for one in await service.storage.instances() if one.id in replaced}
    queued = [await service.storage.upgrades(twist, version) for twist, version in targets if version is not None]
    return [one for one in await _that_run(service, chain.from_iterable(queued)) if one.instance in replaced]


def _outcome(instance: Instance, version: int) -> dict[str, Any]:
    """Return how it is with an instance now that a version was deployed."""
    if instance.version >= version:
        outcome = "upgraded"
    elif instance.awaiting is not None:
        outcome = "awaiting_grant"
    elif instance.target_version is not None:
        outcome = "upgrading"
    else:
        outcome = "leaving" if instance.status == "deactivating" else "failed"
    return {
        "instance": instance.id,
        "version": instance.version,
        "outcome": outcome,
        "status": instance.status,
        "upgrade_error": instance.upgrade_error,
    }


def tell_deployed(result: dict[str, Any]) -> None:
    """Tell a person what a deploy did, or would do."""
    name, version = safe(result["twist"]), result["version"]
    if result.get("unchanged"):
        say(f"{name} is unchanged: version {version} stays the latest.")
    elif result.get("dry_run"):
        say(f"{name} can be deployed as version {version}. Nothing was stored.")
    else:
        say(f"Deployed {name} version {version}.")
    for breakage in result.get("breaks", ()):
        say(safe(f"This breaks {breakage['method']} of {_instances(breakage['instances'])}: {breakage['why']}."))
    for permission in result["permissions"]:
        added = "  (new)" if permission in result["permissions_added"] else ""
        click.echo(f"  {safe(permission)}{added}")
    for package in result["packages"]:
        click.echo(f"  package: {safe(package.name)} {safe(package.version)}  ({bytes_text(package.size)})")
    _tell_of_instances(result)


def _tell_of_instances(result: dict[str, Any]) -> None:
    if "instances" in result:
        upgraded = [one for one in result["instances"] if one["outcome"] == "upgraded"]
        say(f"{len(upgraded)} of {_instances(result['instances'])} {'runs' if len(upgraded) == 1 else 'run'} it now.")
    elif result.get("upgrading"):
        upgrading = result["upgrading"]
        say(f"{_instances(upgrading)} {'is' if len(upgrading) == 1 else 'are'} being upgraded.")
    waiting = result.get("awaiting_grant")
    if waiting:
        say(
            f"{_instances(waiting)} {'waits' if len(waiting) == 1 else 'wait'} for a grant: `ropewalk grant INSTANCE` shows it, and gives it."
        )


def _instances(which: list[Any]) -> str:
    return f"{len(which):,} instance{'' if len(which) == 1 else 's'}"
