"""What people write, and which record they mean."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from ropewalk.errors import InvalidValue, NotFound
from ropewalk.service.lookup import find_execution, find_instance, find_priority, find_twist
from ropewalk.storage.interface import Storage
from ropewalk.wire.messages import PriorityRecord
from tests.service.seeding import activated, deployed, opened


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[Storage]:
    async with opened(tmp_path / "walk.db") as storage:
        sync = await deployed(storage, "issue-sync", "sync")
        ping = await deployed(storage, "ping", "ping")
        await activated(storage, sync, "aaa111")
        await activated(storage, sync, "aaa222")
        await activated(storage, ping, "bbb333")
        yield storage


async def test_a_twist_by_name_and_by_id(storage: Storage) -> None:
    twist = await find_twist(storage, "ping")
    assert (await find_twist(storage, twist.id)) == twist


async def test_a_twist_that_is_not_there_names_the_nearest(storage: Storage) -> None:
    with pytest.raises(NotFound, match=r"no twist 'isue-sync' \(did you mean 'issue-sync'\?\)"):
        await find_twist(storage, "isue-sync")


@pytest.mark.parametrize("text", ["bbb333", "b", "bbb", "ping"])
async def test_an_instance_by_id_beginning_and_name(storage: Storage, text: str) -> None:
    assert (await find_instance(storage, text)).id == "bbb333"


async def test_an_instance_by_the_name_of_a_twist_with_several(storage: Storage) -> None:
    with pytest.raises(InvalidValue, match="twist 'issue-sync' has 2 instances: name one by its id: aaa222, aaa111"):
        await find_instance(storage, "issue-sync")


async def test_an_instance_by_a_beginning_of_several(storage: Storage) -> None:
    with pytest.raises(InvalidValue, match="2 instances begin with 'aaa': write more of it: aaa222, aaa111"):
        await find_instance(storage, "aaa")


@pytest.mark.parametrize("text", ["zzz", "", "aaa1111", "%", "_" * 6])
async def test_an_instance_that_is_not_there(storage: Storage, text: str) -> None:
    with pytest.raises(NotFound, match="there is no instance"):
        await find_instance(storage, text)


@pytest.mark.parametrize("text", ["bbb333-activate", "bbb"])
async def test_an_execution(storage: Storage, text: str) -> None:
    assert (await find_execution(storage, text)).id == "bbb333-activate"


async def test_an_execution_by_a_beginning_of_several(storage: Storage) -> None:
    with pytest.raises(InvalidValue, match="several executions begin with 'aaa'"):
        await find_execution(storage, "aaa")


@pytest.mark.parametrize("text", ["zzz", "", "%"])
async def test_an_execution_that_is_not_there(storage: Storage, text: str) -> None:
    with pytest.raises(NotFound, match="there is no execution"):
        await find_execution(storage, text)


async def test_priorities(storage: Storage) -> None:
    root = await storage.root_priority()
    await storage.create_priority(PriorityRecord(id="work", title="Work", parent=root.id))
    assert (await find_priority(storage, None)).id == root.id
    assert (await find_priority(storage, "wo")).title == "Work"
    with pytest.raises(NotFound, match="no priority 'play'"):
        await find_priority(storage, "play")
