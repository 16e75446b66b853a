"""`ropewalk deploy`."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import bytes_text, safe, say, show, waiting
from ropewalk.cli.common.state import State, pass_state
from ropewalk.cli.common.waiting import finished, raise_unless_succeeded

if TYPE_CHECKING:
    from ropewalk.service.service import Service


@click.command(
    "deploy",
    cls=Command,
    settings=[*running_settings(), "package_index", "package_builds", "package_timeout"],
    examples=(
        ("ropewalk deploy", "the folder you are in"),
        ("ropewalk deploy issue_sync.py --dry-run", "check a module, store nothing"),
        ("ropewalk deploy ./issue-sync --name issues --wait", "under another name, and see the upgrades through"),
    ),
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option("--name", metavar="N", help="The twist's name, instead of the manifest's or the class's.")
@click.option("--dry-run", is_flag=True, help="Build and check in the sandbox; store nothing.")
@click.option("--force", is_flag=True, help="Deploy even when that breaks what is live: callbacks, tasks, options.")
@click.option("--upgrade-packages", is_flag=True, help="Resolve the dependencies anew, to the newest that fit.")
@click.option("--wait", is_flag=True, help="Wait until every instance is upgraded, running the upgrades here when no node does.")
@pass_state
def command(state: State, /, path: Path, name: str | None, wait: bool, **flags: bool) -> None:
    """Store a new version of a twist and upgrade its instances.

    PATH is a module file, a folder with twist.py, or one whose pyproject.toml has [tool.ropewalk] with twist = "module:Class".
    Its module is imported in the sandbox, and nowhere else. An unchanged bundle makes no version.

    What it depends on ([project] dependencies, or a file's script block) is installed for this version alone, from wheels, and stays as it
    is while the list does.
    """
    result = state.run(lambda: _deploy(state, path, name=name, wait=wait, **flags))
    show(state, result, lambda: _tell(result))


async def _deploy(state: State, path: Path, *, name: str | None, dry_run: bool, wait: bool, **flags: bool) -> dict[str, Any]:
    from ropewalk.service.bundles import check_name, pack
    from ropewalk.service.gate import BreaksLive

    if name is not None:
        check_name(name)
    with waiting(f"Packing {path}") as words:
        packed = pack(path, database=state.settings.database_path)
        async with _opened(state, dry_run=dry_run) as service:
            try:
                result: dict[str, Any] = {**await service.deploy(packed, name=name, dry_run=dry_run, tell=words, **flags)}
            except BreaksLive as error:
                breaks = [breakage.shape() for breakage in error.breakages]
                raise Failed("LiveCallbacks", str(error), document={"breaks": breaks}) from error
    if wait and result.get("upgrading"):
        await _see_upgrades_through(state, result)
    return result


@asynccontextmanager
async def _opened(state: State, *, dry_run: bool) -> AsyncGenerator[Service]:
    """Open the database, made when it is not there; a dry run, which leaves nothing, then has one that is thrown away."""
    from msgspec.structs import replace

    from ropewalk.service.service import open_service

    if not dry_run or state.settings.database_path.exists():
        async with state.service(create=not dry_run) as service:
            yield service
        return
    with tempfile.TemporaryDirectory(prefix="ropewalk-") as folder:
        async with open_service(replace(state.settings, database=f"sqlite:///{folder}/dry-run.db"), create=True) as service:
            yield service


async def _see_upgrades_through(state: State, result: dict[str, Any]) -> None:
    """Wait for every `upgrade` that the deploy queued, but of suspended instances, and raise the first error among them."""
    async with state.service() as service:
        queued = [await service.storage.execution(execution) for execution in result["upgrading"]]
        awaited = [one.id for one in queued if one is not None and not await service.is_held(one)]
        done = [await finished(service, execution, f"Upgrading {result['twist']}") for execution in awaited]
    for execution in done:
        raise_unless_succeeded(execution, result)


def _tell(result: dict[str, Any]) -> None:
    name, version = safe(result["twist"]), result["version"]
    if result.get("unchanged"):
        say(f"{name} is unchanged: version {version} stays the latest.")
    elif result.get("dry_run"):
        say(f"{name} can be deployed as version {version}. Nothing was stored.")
    else:
        say(f"Deployed {name} version {version}.")
    for breakage in result.get("breaks", ()):
        count = len(breakage["instances"])
        say(safe(f"This breaks {breakage['method']} of {count} instance{'s' if count > 1 else ''}: {breakage['why']}."))
    for permission in result["permissions"]:
        added = "  (new)" if permission in result["permissions_added"] else ""
        click.echo(f"  {safe(permission)}{added}")
    for package in result["packages"]:
        click.echo(f"  package: {safe(package.name)} {safe(package.version)}  ({bytes_text(package.size)})")
    if upgrading := len(result.get("upgrading", ())):
        say(f"{upgrading} {'instance is' if upgrading == 1 else 'instances are'} being upgraded.")
