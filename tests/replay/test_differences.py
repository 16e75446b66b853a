"""A replay stops where it first differs from the record, and says what was recorded, what came now, and from which line."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from ropewalk.errors import NotFound
from ropewalk.replay.player import Difference
from ropewalk.service.lookup import find_execution
from ropewalk.service.replaying import CannotReplay
from tests.harness.runtime import Runtime
from tests.harness.web import Web
from tests.replay.playing import play, written
from tests.replay.reading import last_execution

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]

TWIST = """
import asyncio
from datetime import UTC, datetime
from ropewalk import Options, Twist
from ropewalk.tools import Network

class Where(Options):
    base_url: str = "http://127.0.0.1:1"

class Edited(Twist):
    options: Where
    network = Network(urls=["{base_url}/*"])

    async def noop(self, *_: object) -> None: ...

    async def work(self) -> dict[str, int]:
        await self.set("first", 1)
        await self.set("second", {"deep": [1, 2]})
        await self.run_task(self.noop, 1)
        await self.run_task(self.noop, 2)
        return {"done": 2}

    async def fail(self) -> None:
        await self.set("first", 1)
        raise ValueError("on purpose")

    async def ask(self) -> str:
        answer = await self.network.fetch(f"{self.options.base_url}/one/ada")
        name = answer.json()["name"]
        await self.set("name", name)
        return name

    async def identify(self) -> None:
        url = f"{self.options.base_url}/one/ada"
        answer = await self.network.fetch(url, headers={"Authorization": "Bearer " + "token"})
        cookie = answer.headers.get("set-cookie")
        await self.set("session", cookie)
"""


async def difference(runtime: Runtime, folder: Path, method: str, old: str, new: str) -> Difference | None:
    """Record a method, replay it on the code with one text in place of another, and return how it differs."""
    instance = await runtime.run(TWIST)
    if method == "fail":
        await runtime.failure(instance, method)
    else:
        await runtime.invoke(instance, method)
    assert old in TWIST
    code = written(folder, TWIST.replace(old, new))
    played = await play(runtime, await last_execution(runtime, instance, method), code=code)
    assert played.shown.same == (played.shown.difference is None), played.told
    return played.shown.difference


WORK = {
    "value": ('"first", 1', '"first", 2', "call", '{"first":1}', '{"first":2}'),
    "key": ('"first", 1', '"fist", 1', "call", '{"first":1}', '{"fist":1}'),
    "within a value": ("[1, 2]}", "[1, 2, 3]}", "call", '{"deep":[1,2]}', '{"deep":[1,2,3]}'),
    "a call fewer": ('await self.set("second", {"deep": [1, 2]})', "pass", "call", '"second"', "task.run"),
    "a call more": ("return {", "await self.set('third', 3)\n        return {", "call", "succeeded", "third"),
    "another result": ('return {"done": 2}', 'return {"done": 3}', "outcome", '{"done":2}', '{"done":3}'),
    "an error": ('return {"done": 2}', "raise KeyError('new')", "outcome", '{"done":2}', "KeyError: 'new'"),
    "an earlier end": ("self.noop, 2)\n", "self.noop, 2)\n        return {}\n", "outcome", '{"done":2}', "{}"),
    "an end before a call": ("await self.run_task(self.noop, 2)\n", "return {}\n", "call", "task.run", "succeeded with {}"),
    "another order": ("self.noop, 1)\n", "self.noop, 2)\n", "call", "[[1],{}]", "[[2],{}]"),
}
"""Edits: what is put in whose place, what differs by it, and parts of what was recorded and of what comes now."""


async def test_the_first_difference_is_shown(runtime: Runtime, tmp_path: Path) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "work")
    execution = await last_execution(runtime, instance, "work")
    for number, (edit, (old, new, what, recorded, replayed)) in enumerate(WORK.items()):
        assert old in TWIST
        played = await play(runtime, execution, code=written(tmp_path / f"code-{number}", TWIST.replace(old, new)))
        found = played.shown.difference
        assert found is not None, edit
        assert not played.shown.same
        assert (found.what, edit) == (what, edit)
        assert recorded in str(found.recorded), edit
        assert replayed in str(found.replayed), edit


async def test_the_line_that_differs_is_named(runtime: Runtime, tmp_path: Path) -> None:
    found = await difference(runtime, tmp_path / "code", "work", '"first", 1', '"first", 2')
    assert found is not None
    assert found.where == ["twist.py:17 in Edited.work"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('await self.set("first", 1)', "one = 1; await self.set('first', one)", id="another way to say it"),
        pytest.param('"on purpose"', '"on " + "purpose"', id="the same message"),
    ],
)
async def test_code_that_does_the_same_does_not_differ(runtime: Runtime, tmp_path: Path, old: str, new: str) -> None:
    assert await difference(runtime, tmp_path / "code", "fail", old, new) is None


@pytest.mark.parametrize(
    ("new", "told"),
    [("ValueError('of another kind')", "ValueError: of another kind"), ("TypeError('on purpose')", "TypeError: on purpose")],
)
async def test_another_error_is_another_outcome(runtime: Runtime, tmp_path: Path, new: str, told: str) -> None:
    found = await difference(runtime, tmp_path / "code", "fail", 'ValueError("on purpose")', new)
    assert found is not None
    assert (found.what, found.recorded) == ("outcome", "it ended with ValueError: on purpose")
    assert told in str(found.replayed)


async def test_mended_code_shows_that_it_is(runtime: Runtime, tmp_path: Path) -> None:
    found = await difference(runtime, tmp_path / "code", "fail", 'raise ValueError("on purpose")', "return None")
    assert found is not None
    assert (found.what, found.replayed) == ("outcome", "it succeeded with null")


async def test_a_request_that_was_not_made_then_is_not_made_now(runtime: Runtime, web: Web, tmp_path: Path) -> None:
    instance = await runtime.run(TWIST, base_url=web.url)
    await runtime.invoke(instance, "ask")
    code = written(tmp_path / "code", TWIST.replace("/one/ada", "/one/grace"))
    played = await play(runtime, await last_execution(runtime, instance, "ask"), code=code)
    assert played.shown.difference is not None
    assert "/one/grace" in str(played.shown.difference.replayed)
    assert [asked.path for asked in web.requests] == ["/one/ada"]


# ── What is not in the record ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_credential_in_a_request_is_not_missed(runtime: Runtime, web: Web) -> None:
    instance = await runtime.run(TWIST, base_url=web.url)
    await runtime.invoke(instance, "identify")
    played = await play(runtime, await last_execution(runtime, instance, "identify"))
    assert played.shown.same, played.told


async def test_a_replay_that_needs_a_hidden_value_says_which(runtime: Runtime, web: Web) -> None:
    web.headers["Set-Cookie"] = "a-session"
    instance = await runtime.run(TWIST, base_url=web.url)
    await runtime.invoke(instance, "identify")
    played = await play(runtime, await last_execution(runtime, instance, "identify"))
    assert played.shown.difference is not None
    assert "a-session" in str(played.shown.difference.recorded)
    assert any("the header set-cookie in the answer" in note for note in played.shown.notes)


async def test_a_replay_goes_as_far_as_its_record_and_says_where_that_was_cut(opened: Opens) -> None:
    async with opened(limit_record=2_500) as runtime:
        instance = await runtime.run(TWIST.replace('"second", {"deep": [1, 2]}', '"second", "x" * 9000'))
        await runtime.invoke(instance, "work")
        played = await play(runtime, await last_execution(runtime, instance, "work"))
    assert played.shown.difference is not None
    assert played.shown.difference.what == "record"
    assert "limit_record" in str(played.shown.difference.recorded)


async def test_an_event_that_alone_is_over_the_limit_cannot_be_replayed(opened: Opens) -> None:
    async with opened(limit_record=100) as runtime:
        instance = await runtime.run(TWIST)
        await runtime.invoke(instance, "work")
        with pytest.raises(CannotReplay, match="limit_record"):
            await play(runtime, await last_execution(runtime, instance, "work"))


async def test_what_has_no_record_is_refused_with_the_reason(opened: Opens) -> None:
    async with opened(record="failed") as runtime:
        instance = await runtime.run(TWIST)
        await runtime.invoke(instance, "work")
        with pytest.raises(CannotReplay, match=r"has no record.*'failed'"):
            await play(runtime, await last_execution(runtime, instance, "work"))


async def test_a_deactivated_instance_takes_its_records_along(runtime: Runtime) -> None:
    instance = await runtime.run(TWIST)
    await runtime.invoke(instance, "work")
    execution = await last_execution(runtime, instance, "work")
    await runtime.deactivate(instance)
    with pytest.raises(CannotReplay, match=r"deactivated|no record"):
        await play(runtime, execution)


async def test_what_does_not_exist_cannot_be_replayed(runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        await find_execution(runtime.storage, "nothing")
