"""Reading and writing the store from outside: prefixes, expiry, odd keys."""

from __future__ import annotations

import pytest

from ropewalk.storage.interface import DoesNotApply, StorageUnavailable, UnknownInstance
from ropewalk.storage.records import DropValues, PutValue
from tests.storage.scene import SECOND, Scene

ODD = [
    "",
    "a",
    "a\0b",
    "a\ud7ff",
    "a\ue000",
    "a\U0010ffff",
    "a\U0010ffffz",
    "b",
    "ä",
    "A",
    "a%",
    "a_",
    "😀",
    "\U0010ffff",
    '"',
    "'",
]


async def store(scene: Scene, *keys: str, ns: str = "", expires_at: int | None = None) -> None:
    """Have the instance `i1` keep these keys."""
    await scene.enqueue("i1")
    await scene.succeed(await scene.claim(), *(PutValue(ns=ns, key=key, value=b"1", expires_at=expires_at) for key in keys))


async def keys(scene: Scene, prefix: str = "", ns: str = "") -> list[str]:
    """Return keys of `i1`."""
    return await scene.storage.read_keys("i1", ns, prefix, scene.clock.now())


async def test_odd_keys_are_kept_apart_and_sorted_by_code_point(scene: Scene) -> None:
    await scene.active()
    await store(scene, *ODD)
    assert await keys(scene) == sorted(ODD)
    assert set(await scene.storage.read_values("i1", "", ODD, scene.clock.now())) == set(ODD)


@pytest.mark.parametrize("prefix", ["a", "a\U0010ffff", "\U0010ffff", "a\ud7ff", "A", "a%", "none", ""])
async def test_prefixes_find_what_begins_with_them(scene: Scene, prefix: str) -> None:
    await scene.active()
    await store(scene, *ODD)
    begin = [key for key in sorted(ODD) if key.startswith(prefix)]
    assert await keys(scene, prefix) == begin
    await scene.enqueue("i1")
    await scene.succeed(await scene.claim(), DropValues(ns="", prefix=prefix))
    assert await keys(scene) == [key for key in sorted(ODD) if key not in begin]


async def test_namespaces_and_instances_do_not_see_each_other(scene: Scene) -> None:
    await scene.active("i1")
    await scene.active("i2")
    await store(scene, "a")
    await store(scene, "b", ns="tool")
    assert (await keys(scene), await keys(scene, ns="tool")) == (["a"], ["b"])
    assert await scene.storage.read_keys("i2", "", "", scene.clock.now()) == []


async def test_a_value_is_gone_when_its_time_is_over(scene: Scene) -> None:
    await scene.active()
    await store(scene, "short", expires_at=scene.clock.now() + 5 * SECOND)
    await store(scene, "long")
    scene.clock.move(4.999999)
    assert await keys(scene) == ["long", "short"]
    scene.clock.move(0.000001)
    assert await keys(scene) == ["long"]
    for asked in (["short"], ["short", "long"]):
        assert "short" not in await scene.storage.read_values("i1", "", asked, scene.clock.now())


async def test_sweeping_removes_expired_values_and_frees_their_bytes(scene: Scene) -> None:
    await scene.active()
    await store(scene, *(f"k{number}" for number in range(25)), expires_at=scene.clock.now() + SECOND)
    await store(scene, "kept", expires_at=scene.clock.now() + 10 * SECOND)
    scene.clock.move(2)
    assert [await scene.storage.sweep(10) for _ in range(4)] == [10, 10, 5, 0]
    assert (await scene.instance()).store_bytes == len("kept") + 1


async def test_writing_over_an_expired_value_brings_the_key_back(scene: Scene) -> None:
    await scene.active()
    await store(scene, "k", expires_at=scene.clock.now() + SECOND)
    scene.clock.move(2)
    await store(scene, "k")
    assert await keys(scene) == ["k"]
    assert await scene.storage.sweep(10) == 0


async def test_values_are_written_from_outside(scene: Scene) -> None:
    await scene.active()
    await scene.storage.write_values("i1", "", {"a": b"1", "b": b"2"}, scene.clock.now())
    await scene.storage.write_values("i1", "", {"a": b"3", "b": None, "c": None}, scene.clock.now())
    assert await scene.storage.read_values("i1", "", ["a", "b", "c"], scene.clock.now()) == {"a": b"3"}
    assert (await scene.instance()).store_bytes == 2


async def test_writing_from_outside_waits_for_no_running_execution(scene: Scene) -> None:
    await scene.active()
    await scene.enqueue("i1")
    claim = await scene.claim()
    with pytest.raises(StorageUnavailable):
        await scene.storage.write_values("i1", "", {"a": b"1"}, scene.clock.now())
    await scene.succeed(claim)
    await scene.storage.write_values("i1", "", {"a": b"1"}, scene.clock.now())


async def test_writing_from_outside_has_the_same_limits(scene: Scene) -> None:
    await scene.active()
    with pytest.raises(DoesNotApply, match="store"):
        await scene.storage.write_values("i1", "", {"a": b"x" * 60_000}, scene.clock.now())
    with pytest.raises(UnknownInstance):
        await scene.storage.write_values("nope", "", {"a": b"1"}, scene.clock.now())
    assert await keys(scene) == []


@pytest.mark.parametrize("limit", [None, 1, 3, 100])
async def test_what_is_left_out_of_a_listing_costs_nothing_of_its_limit(scene: Scene, limit: int | None) -> None:
    await scene.active()
    await store(scene, *(f"{first}{second}" for first in "abc" for second in "xyz"))
    found = await scene.storage.read_keys("i1", "", "", scene.clock.now(), without=["b", "ay", "cz"], limit=limit)
    assert found == ["ax", "az", "cx", "cy"][:limit]
    found = await scene.storage.read_keys("i1", "", "a", scene.clock.now(), without=["b", "ay"], limit=limit)
    assert found == ["ax", "az"][:limit]
