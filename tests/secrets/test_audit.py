"""What the audit finds of keys and of what they seal, and what becomes of it."""

from __future__ import annotations

from contextlib import closing

import apsw  # what the storage itself uses: a second SQLite would not know of its locks
import pytest

from ropewalk.service.auditing import audit
from ropewalk.storage.records import Finding
from ropewalk.vault.masters import Masters, new_text
from ropewalk.vault.rotation import rotate
from ropewalk.vault.vault import Vault
from tests.secrets.kept import PIN, TOKEN, Kept

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def look(kept: Kept, *, repair: bool = True) -> list[Finding]:
    """Audit as a process does that knows no key yet."""
    service = kept.runtime.service
    service.masters = Masters((), service.masters.file)
    service.vault = Vault(service.storage, service.masters)
    return await audit(service, repair=repair)


async def names(kept: Kept, *, repair: bool = True) -> list[tuple[str, bool]]:
    """Return the name of each finding, and whether it was mended."""
    return [(one.name, one.repaired) for one in await look(kept, repair=repair)]


def damage(kept: Kept, sql: str) -> None:
    """Change the database behind everybody's back."""
    with closing(apsw.Connection(str(kept.runtime.database))) as connection:
        connection.execute(sql)


async def test_a_healthy_vault_has_nothing_to_tell_of(kept: Kept) -> None:
    assert await names(kept) == []


async def test_a_master_key_that_is_gone_is_named_and_nothing_is_made_in_its_place(kept: Kept) -> None:
    file = kept.runtime.service.masters.file
    kept_apart = file.rename(file.with_name("backup"))
    (found,) = await look(kept)
    assert (found.name, found.repaired) == ("master_key_missing", False)
    assert "is gone: restore that file" in found.what
    file.write_text(new_text())
    file.chmod(0o600)
    assert await names(kept) == [("master_key_missing", False)]
    file.chmod(0o644)
    assert await names(kept) == [("master_key_refused", False)]
    kept_apart.rename(file)
    assert await names(kept) == []


async def test_a_rotation_that_was_killed_is_ended(kept: Kept) -> None:
    service = kept.runtime.service
    Masters((), service.masters.file).add()  # its first step
    assert await names(kept, repair=False) == [("rotation_unfinished", False)]
    assert await names(kept) == [("rotation_unfinished", True)]
    assert len(service.masters.texts()) == 1
    assert await names(kept) == []
    assert await kept.call("pin_length") == len(PIN)


async def test_a_rotation_that_was_killed_after_its_key_came_into_force_is_ended(kept: Kept) -> None:
    service = kept.runtime.service
    before = await service.storage.master_key()
    new = Masters((), service.masters.file).add()
    await service.storage.adopt_master_key(new.id, instead_of=before)
    assert await names(kept) == [("rotation_unfinished", True)]
    assert await names(kept) == []
    assert await kept.call("pin_length") == len(PIN)


async def test_a_rotation_under_way_is_left_alone(kept: Kept) -> None:
    masters = Masters((), kept.runtime.service.masters.file)
    with masters.alone():
        masters.add()
        assert await names(kept) == []
    await rotate(kept.runtime.storage, masters)


async def test_the_key_in_force_is_told_by_what_it_wrapped(kept: Kept) -> None:
    damage(kept, "DELETE FROM master_key")
    assert await names(kept) == [("no_master_key_in_force", True)]
    assert await names(kept) == []


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("DELETE FROM data_keys", "data_key_missing"),
        ("UPDATE secrets SET sealed = zeroblob(60)", "secrets_unreadable"),
    ],
)
async def test_secrets_that_do_not_open_are_named_and_given_again(kept: Kept, sql: str, name: str) -> None:
    await kept.runtime.stop()
    damage(kept, sql)
    (found,) = await look(kept)
    assert (found.name, found.repaired, found.instance) == (name, False, kept.instance)
    assert f"`ropewalk options {kept.instance} --option NAME=@FILE`" in found.remedy
    await kept.change(token=TOKEN, pin="another", key=TOKEN)
    assert await names(kept) == []
    assert await kept.call("pin_length") == len("another")


async def test_a_data_key_that_is_damaged_is_named(kept: Kept) -> None:
    damage(kept, "UPDATE data_keys SET wrapped = substr(wrapped, 1, 40)")
    Masters((), kept.runtime.service.masters.file).add()
    assert await names(kept) == [("data_key_unreadable", False), ("rotation_unfinished", False)]
