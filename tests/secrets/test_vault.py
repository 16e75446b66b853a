"""What is sealed opens for its own instance, in its own place, with its own key, and for nobody once that is destroyed."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from ropewalk.storage.interface import DoesNotApply, UnknownInstance
from ropewalk.vault.errors import KeyMissing, KeyRefused, Tampered
from ropewalk.vault.masters import Masters, new_text
from ropewalk.vault.rotation import rotate
from ropewalk.vault.vault import Vault
from tests.storage.scene import Scene


async def test_nothing_is_made_before_something_is_sealed(scene: Scene, masters: Masters) -> None:
    await Vault(scene.storage, masters).check()
    assert not masters.file.exists()
    assert await scene.storage.master_key() is None


async def test_what_is_sealed_opens_after_a_restart(scene: Scene, masters: Masters) -> None:
    sealed = (await Vault(scene.storage, masters).sealer("i1")).seal(b"a token", "options", "token")
    assert b"a token" not in sealed
    later = await Vault(scene.storage, Masters((), masters.file)).sealer("i1")
    assert later.open(sealed, "options", "token") == b"a token"
    assert masters.file.stat().st_mode & 0o777 == 0o600


async def test_the_same_value_is_sealed_differently_each_time(scene: Scene, masters: Masters) -> None:
    sealer = await Vault(scene.storage, masters).sealer("i1")
    assert sealer.seal(b"a token", "options") != sealer.seal(b"a token", "options")


async def test_what_was_moved_or_changed_does_not_open(scene: Scene, masters: Masters) -> None:
    vault = Vault(scene.storage, masters)
    one, other = await vault.sealer("i1"), await vault.sealer("i2")
    sealed = one.seal(b"a token", "options", "token")
    with pytest.raises(Tampered):
        one.open(sealed, "options", "other")
    with pytest.raises(Tampered):
        one.open(sealed, "options/token")
    with pytest.raises(Tampered):
        other.open(sealed, "options", "token")
    for place in range(len(sealed)):
        with pytest.raises(Tampered):
            one.open(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], "options", "token")
        with pytest.raises(Tampered):
            one.open(sealed[:place], "options", "token")


async def test_a_data_key_of_another_instance_does_not_open(scene: Scene, masters: Masters) -> None:
    vault = Vault(scene.storage, masters)
    made, _ = await vault.new_key("i1")
    await scene.storage.keep_data_key(made)
    stolen = type(made)(instance="i2", master=made.master, wrapped=made.wrapped)
    await scene.storage.keep_data_key(stolen)
    with pytest.raises(Tampered):
        await vault.sealer("i2")


async def test_deactivation_destroys_the_key(scene: Scene, masters: Masters) -> None:
    await Vault(scene.storage, masters).sealer("i1")
    await scene.storage.begin_deactivation(scene.lifecycle("i1", "deactivate"))
    assert await scene.storage.data_key("i1") is not None  # deactivate() may still need it
    await scene.succeed(await scene.claim("i1"))
    assert await scene.storage.data_key("i1") is None
    with pytest.raises(UnknownInstance):
        await Vault(scene.storage, masters).sealer("i1")


async def test_many_that_ask_at_once_get_one_key(scene: Scene, masters: Masters) -> None:
    vaults = [Vault(scene.storage, Masters((), masters.file)) for _ in range(8)]
    sealers = await asyncio.gather(*(vault.sealer("i1") for vault in vaults))
    sealed = sealers[0].seal(b"a token")
    assert {sealer.open(sealed) for sealer in sealers} == {b"a token"}
    assert len(masters.texts()) == 1


# ── The master key ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_file_that_others_may_read_is_refused(scene: Scene, masters: Masters) -> None:
    await Vault(scene.storage, masters).sealer("i1")
    masters.file.chmod(0o640)
    with pytest.raises(KeyRefused, match=r"others may read or write it \(mode 640\).*chmod 600"):
        await Vault(scene.storage, Masters((), masters.file)).sealer("i1")


async def test_a_lost_file_is_named_and_no_other_is_made(scene: Scene, masters: Masters) -> None:
    await Vault(scene.storage, masters).sealer("i1")
    kept = masters.file.rename(masters.file.with_name("backup"))
    vault = Vault(scene.storage, Masters((), masters.file))
    for asked in (vault.check(), vault.sealer("i1"), vault.sealer("i2")):
        with pytest.raises(KeyMissing, match=r"ropewalk.db-key is gone: restore that file .* Nothing is lost"):
            await asked
    assert not masters.file.exists()
    kept.rename(masters.file)
    await vault.sealer("i1")


async def test_a_wrong_key_is_named(scene: Scene, masters: Masters) -> None:
    await Vault(scene.storage, masters).sealer("i1")
    with pytest.raises(KeyMissing, match=r"none of those in ROPEWALK_KEY.*ropewalk.db-key may hold it"):
        await Vault(scene.storage, Masters([new_text()], masters.file)).sealer("i1")


async def test_the_file_s_line_does_as_the_setting(scene: Scene, masters: Masters) -> None:
    sealed = (await Vault(scene.storage, masters).sealer("i1")).seal(b"a token")
    given = Masters(masters.texts(), masters.file.with_name("nowhere"))
    assert (await Vault(scene.storage, given).sealer("i1")).open(sealed) == b"a token"


@pytest.mark.parametrize("text", ["correct horse battery staple", "é" * 16, "0123456789abcdef" * 4, "x" * 43])
async def test_a_passphrase_does_as_a_key(scene: Scene, masters: Masters, text: str) -> None:
    sealed = (await Vault(scene.storage, Masters([text], masters.file)).sealer("i1")).seal(b"a token")
    assert (await Vault(scene.storage, Masters([text], masters.file)).sealer("i1")).open(sealed) == b"a token"
    assert not masters.file.exists()


# ── Rotation ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rotation_opens_everything_with_the_new_key_alone(scene: Scene, masters: Masters) -> None:
    node = Vault(scene.storage, masters)  # has read the old key, and runs all the time
    sealed = {name: (await node.sealer(name)).seal(b"a token") for name in ("i1", "i2")}
    (old,) = masters.texts()
    rotated = await rotate(scene.storage, Masters((), masters.file))
    assert (rotated.rewrapped, rotated.removed) == (2, 1)
    assert rotated.previous != rotated.key == await scene.storage.master_key()
    (new,) = masters.texts()
    assert new != old
    fresh = Vault(scene.storage, Masters([new], masters.file))
    for name in ("i1", "i2"):
        assert (await fresh.sealer(name)).open(sealed[name]) == b"a token"
    await scene.active("i3")
    later = (await node.sealer("i3")).seal(b"later")  # the node seals with the key in force, which it finds in the file
    assert (await fresh.sealer("i3")).open(later) == b"later"
    with pytest.raises(KeyMissing):
        await Vault(scene.storage, Masters([old], masters.file)).sealer("i1")


async def test_keys_that_are_given_are_rotated_by_naming_both(scene: Scene, masters: Masters) -> None:
    old, new = new_text(), new_text()
    sealed = (await Vault(scene.storage, Masters([old], masters.file)).sealer("i1")).seal(b"a token")
    both = Masters([new, old], masters.file)
    assert (await Vault(scene.storage, both).sealer("i1")).open(sealed) == b"a token"
    assert (await rotate(scene.storage, both)).rewrapped == 1
    assert (await Vault(scene.storage, Masters([new], masters.file)).sealer("i1")).open(sealed) == b"a token"
    with pytest.raises(KeyRefused, match="begins with the key that is in force already"):
        await rotate(scene.storage, both)


async def test_a_rotation_that_was_broken_off_is_ended_by_the_next(
    scene: Scene, masters: Masters, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(scene.storage, masters)
    for number in range(3, 8):
        await scene.active(f"i{number}")
        await vault.sealer(f"i{number}")
    monkeypatch.setattr("ropewalk.vault.rotation._AT_ONCE", 2)

    def breaks(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(scene.storage, masters, breaks)
    assert len(masters.texts()) == 2
    ended = await rotate(scene.storage, Masters((), masters.file))
    assert (ended.rewrapped, ended.removed, len(masters.texts())) == (1, 1, 1)
    for number in range(3, 8):
        await Vault(scene.storage, Masters((), masters.file)).sealer(f"i{number}")


async def test_one_that_is_damaged_does_not_keep_the_others_under_the_old_key(
    scene: Scene, masters: Masters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(scene.storage, masters)
    await scene.active("i3")
    sealed = {name: (await vault.sealer(name)).seal(b"a token") for name in ("i1", "i2", "i3")}
    with closing(apsw.Connection(str(tmp_path / "ropewalk.db"))) as connection:
        connection.execute("UPDATE data_keys SET wrapped = substr(wrapped, 1, 40) WHERE instance = 'i2'")
    monkeypatch.setattr("ropewalk.vault.rotation._AT_ONCE", 1)
    rotated = await rotate(scene.storage, Masters((), masters.file))
    assert (rotated.rewrapped, list(rotated.unopened), rotated.removed) == (2, ["i2"], 1)
    assert "i2" in rotated.unopened["i2"]
    fresh = Vault(scene.storage, Masters((), masters.file))
    assert [(await fresh.sealer(name)).open(sealed[name]) for name in ("i1", "i3")] == [b"a token"] * 2
    again = await rotate(scene.storage, Masters((), masters.file))
    assert (again.previous, again.rewrapped, list(again.unopened)) == (rotated.key, 2, ["i2"])
    assert again.key != rotated.key


async def test_a_key_that_another_master_wrapped_is_not_kept(scene: Scene, masters: Masters) -> None:
    made, _ = await Vault(scene.storage, masters).new_key("i1")
    await rotate(scene.storage, masters)
    with pytest.raises(DoesNotApply, match="another master key"):
        await scene.storage.keep_data_key(made)


async def test_one_rotation_at_a_time(scene: Scene, masters: Masters) -> None:
    with masters.alone(), pytest.raises(KeyRefused, match="another process is rotating"):
        await rotate(scene.storage, masters)
