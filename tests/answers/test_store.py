"""What an attempt sees of its instance's store after clearing some of it, and what a listing costs."""

from __future__ import annotations

import time

import pytest

from ropewalk.answers import store
from ropewalk.answers.interface import AnswerLimits
from ropewalk.errors import ValueTooLarge
from ropewalk.wire.messages import StoreClear, StoreKeys, StoreRead, StoreWrite
from tests.answers.authors import Author
from tests.storage.scene import Scene


async def write(author: Author, *keys: str) -> None:
    await store.store_write(author.session, StoreWrite(id=1, ns="", items=dict.fromkeys(keys, b"1")))


async def clear(author: Author, prefix: str) -> None:
    await store.store_clear(author.session, StoreClear(id=1, ns="", prefix=prefix))


async def keys(author: Author, prefix: str = "") -> list[str]:
    return await store.store_keys(author.session, StoreKeys(id=1, ns="", prefix=prefix))


@pytest.mark.parametrize("prefixes", [["a", "ab"], ["ab", "a"], ["ab", "a", "ac", "c"], [""], ["abc", "ab", "b", ""]])
async def test_what_is_cleared_is_gone_in_whatever_order(author: Author, prefixes: list[str]) -> None:
    stored = ["a", "ab", "abc", "ac", "b", "ca"]
    await write(author, *stored)
    await author.commit()
    for prefix in prefixes:
        await clear(author, prefix)
    left = [key for key in stored if not key.startswith(tuple(prefixes))]
    assert await keys(author) == left
    assert sorted(await store.store_read(author.session, StoreRead(id=1, ns="", keys=stored))) == left
    await write(author, "abc")
    assert await keys(author, "ab") == ["abc"]
    await author.commit()
    assert await keys(author) == sorted({*left, "abc"})


async def test_a_listing_is_refused_by_what_is_seen_not_by_what_was_cleared(scene: Scene) -> None:
    await scene.active("i1")
    author = await Author.begin(scene, "i1", AnswerLimits(listing=10))
    await write(author, *(f"a{number}" for number in range(50)), *(f"b{number}" for number in range(10)))
    await author.commit()
    with pytest.raises(ValueTooLarge, match="more than 10 keys"):
        await keys(author)
    await clear(author, "a")
    assert len(await keys(author)) == 10
    await write(author, "c")
    with pytest.raises(ValueTooLarge, match="more than 10 keys"):
        await keys(author)


async def test_many_cleared_prefixes_do_not_make_reading_dear(author: Author) -> None:
    """A node answers others meanwhile."""
    for number in range(1_000):
        await clear(author, f"{number:03}")
    asked = StoreRead(id=1, ns="", keys=[f"key {number}" for number in range(1_000)])
    began = time.process_time()
    await store.store_read(author.session, asked)
    assert time.process_time() - began < 0.1
