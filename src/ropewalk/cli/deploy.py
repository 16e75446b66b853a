"""`ropewalk deploy`."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ropewalk.cli.common.command import Command, running_settings
from ropewalk.cli.common.output import show, waiting
from ropewalk.cli.common.rollout import refusals, see_upgrades_through, tell_deployed
from ropewalk.cli.common.state import State, pass_state

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
@click.option("--no-new-permissions", is_flag=True, help="Instances that lack what it asks for wait for `ropewalk grant`.")
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
    show(state, result, lambda: tell_deployed(result))


async def _deploy(
    state: State, path: Path, *, name: str | None, dry_run: bool, no_new_permissions: bool, wait: bool, **flags: bool
) -> dict[str, Any]:
    from ropewalk.service.bundles import check_name, pack
    from ropewalk.service.releasing import Releases

    if name is not None:
        check_name(name)
    with waiting(f"Packing {path}") as words:
        packed = pack(path, database=state.settings.database_path)
        async with _opened(state, dry_run=dry_run) as service:
            with refusals():
                done = await Releases(service).deploy(
                    packed,
                    name=name,
                    dry_run=dry_run,
                    force=flags["force"],
                    upgrade_packages=flags["upgrade_packages"],
                    grant=not no_new_permissions,
                    tell=words,
                )
    result: dict[str, Any] = {**done}
    if wait:
        await see_upgrades_through(state, result)
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
