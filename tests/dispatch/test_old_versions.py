"""What a node clears away of versions that nobody is in: rolling back and replaying say so, and everything else goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from ropewalk.errors import NotFound
from ropewalk.service.lookup import find_twist
from ropewalk.service.old_versions import OldVersions
from ropewalk.service.releasing import Releases
from ropewalk.service.replaying import CannotReplay, image_of, recorded
from ropewalk.storage.records import ExecutionQuery
from tests.harness.commands import Cli
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = """
from ropewalk import Twist

class Moved(Twist):
    async def version(self) -> int:
        return self.execution.version  # change {}
"""

MONTH = 31 * 86_400


async def test_files_of_versions_that_nobody_is_in_are_cleared_away(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]],
) -> None:
    async with opened(keep_versions=1) as runtime:
        service, cli = runtime.service, Cli(runtime.database.parent, runtime.database)
        instance = await runtime.run(SOURCE.format(1))
        assert await runtime.invoke(instance, "version") == 1
        (old,) = await service.storage.executions(ExecutionQuery(instance=instance, limit=1))
        for change in (2, 3):
            await runtime.deploy(SOURCE.format(change))
            await runtime.drain()
        first = await service.storage.version(old.twist, 1)
        assert first is not None
        folder = service.settings.bundles_directory / first.bundle
        await OldVersions(service).look()
        runtime.clock.step(seconds=MONTH)
        today = runtime.clock.now() / 1e6
        for other in service.settings.bundles_directory.iterdir():
            if other != folder:  # the session's other tests have theirs here too
                os.utime(other, (today, today))
        assert {row["removed_at"] for row in cli.json("versions", "moved")} == {None}
        await OldVersions(service).look()
        rows = cli.json("versions", "moved")
        assert [(row["version"], row["can_roll_back"], row["removed_at"] is None) for row in rows] == [
            (3, False, True),
            (2, False, False),
            (1, False, False),
        ]
        assert "its files were removed" in cli.run("versions", "moved").out
        assert not folder.exists()
        refused = cli.refused("rollback", "moved", "--to", "1")
        assert refused.type == "NotFound"
        assert "the files of version 1 of moved were removed on 2" in refused.message
        with pytest.raises(NotFound, match="deploy its source again"):
            await Releases(service).rollback(await find_twist(service.storage, "moved"), None)
        with pytest.raises(CannotReplay, match="files of version 1 were removed"):
            await image_of(service, await recorded(service, old, None))
        assert await runtime.invoke(instance, "version") == 3
        deployed = await runtime.deploy(SOURCE.format(1))
        await runtime.drain()
        assert await runtime.invoke(instance, "version") == deployed.get("version") == 4
        assert cli.json("doctor", "--no-repair")["database"]["findings"] == []


async def test_a_folder_of_no_version_goes_once_nobody_has_asked_for_it_in_a_day(runtime: Runtime) -> None:
    folder = runtime.service.settings.bundles_directory / ("0" * 64)
    folder.mkdir()
    await OldVersions(runtime.service).look()
    assert folder.exists()
    long_ago = runtime.clock.now() / 1e6 - 90_000
    os.utime(folder, (long_ago, long_ago))
    await OldVersions(runtime.service).look()
    assert not folder.exists()
