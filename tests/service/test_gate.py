"""What a new version would break of what is live, and what it would not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from ropewalk.service.gate import BreaksLive, breakages
from ropewalk.service.options import Chosen
from ropewalk.storage.interface import Storage
from ropewalk.storage.records import Instance, PutCallback
from ropewalk.wire.control import Manifest, Method, Parameter
from ropewalk.wire.messages import Target
from tests.service.seeding import CLOCK, activated, deployed, manifest, opened, queued, settled

LATER = CLOCK.now() + 10**12


def method(name: str, *parameters: str, renamed_from: list[str] | None = None) -> Method:
    """Return a method; a parameter with `=` need not be given, one with `*` before it takes the rest."""
    kinds = {"**": "VAR_KEYWORD", "*": "VAR_POSITIONAL", "": "POSITIONAL_OR_KEYWORD"}
    taken = [
        Parameter(
            name=text.strip("*="),
            kind=kinds[text[: len(text) - len(text.lstrip("*"))]],
            required="=" not in text and not text.startswith("*"),
        )
        for text in parameters
    ]
    return Method(ns="", name=name, parameters=taken, renamed_from=renamed_from or [])


async def chosen(instance: Instance) -> Chosen:
    return Chosen(msgspec.json.decode(instance.options))


async def told(storage: Storage, twist: str, new: Manifest) -> list[str]:
    return [str(breakage) for breakage in await breakages(storage, twist, new, chosen)]


def callback(token: str, name: str, arguments: bytes = b"[[],{}]", ns: str = "") -> PutCallback:
    return PutCallback(ns="", token=token, target=Target(ns=ns, method=name, arguments=arguments), at=CLOCK.now())


async def one_with(storage: Storage, twist: str, *callbacks: PutCallback, instance: str = "one") -> None:
    """Activate an instance that has made these callbacks."""
    await activated(storage, twist, instance)
    await storage.enqueue(queued(instance, f"{instance}-makes", "page"))
    await settled(storage, instance, effects=list(callbacks))


async def test_a_pending_task_of_a_method_that_goes(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "other")
        await activated(storage, twist, "one")
        await storage.enqueue(queued("one", "later", "page", run_at=LATER))
        await storage.enqueue(queued("one", "now", "page"))
        assert await told(storage, twist, manifest("page")) == []
        assert await told(storage, twist, manifest("other")) == ["page(): there is no such method: 2 tasks of instance one"]


async def test_a_task_that_runs_may_have_to_run_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page")
        await activated(storage, twist, "one")
        await storage.enqueue(queued("one", "now", "page"))
        assert len(await storage.claim("node", 1)) == 1
        assert await told(storage, twist, manifest("other")) == ["page(): there is no such method: 1 task of instance one"]


async def test_callbacks_are_counted_by_what_they_ask_for(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", method("page", "*any"), "other")
        made = [callback("cb_x", "page"), callback("cb_y", "page", b"[[1],{}]"), callback("cb_z", "other")]
        await one_with(storage, twist, *made)
        await one_with(storage, twist, callback("cb_x", "page"), instance="two")
        (found,) = await breakages(storage, twist, manifest("other"), chosen)
        assert (found.method, found.live, sorted(found.instances)) == ("page()", {"callback": 3}, ["one", "two"])


async def test_what_nothing_names_may_go(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "other")
        await activated(storage, twist, "one")
        assert await told(storage, twist, manifest("other")) == []


async def test_a_callback_of_a_tool_that_goes(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "calendar.sync")
        await one_with(storage, twist, callback("cb_x", "sync", ns="calendar"))
        assert await told(storage, twist, manifest("page", "calendar.other")) == [
            "calendar.sync(): there is no such method: 1 callback of instance one"
        ]
        assert await told(storage, twist, manifest("page")) == [
            "calendar.sync(): there is no tool 'calendar': 1 callback of instance one"
        ]


@pytest.mark.parametrize(
    ("arguments", "parameters", "fits"),
    [
        (b"[[1],{}]", ["a"], True),
        (b"[[1],{}]", ["request", "a"], True),  # a webhook's request may come before what was bound
        (b"[[1, 2, 3],{}]", ["a", "b"], False),
        (b"[[1, 2, 3],{}]", ["*rest"], True),
        (b'[[],{"a":1}]', ["a"], True),
        (b'[[],{"a":1}]', ["b="], False),
        (b'[[],{"a":1}]', ["**rest"], True),
        (b'[[1],{"a":1}]', ["request", "a="], True),
        (b"no JSON", ["a"], True),  # what cannot be read cannot be held against the version
    ],
)
async def test_what_was_bound_has_to_fit(tmp_path: Path, arguments: bytes, parameters: list[str], fits: bool) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", method("page", "*any", "**named"))
        await one_with(storage, twist, callback("cb_x", "page", arguments))
        assert (await told(storage, twist, manifest(method("page", *parameters))) == []) == fits


async def test_what_an_event_brings_has_to_fit_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", method("page", "*any"))
        await activated(storage, twist, "one")
        await storage.enqueue(queued("one", "task", "page", run_at=LATER))
        assert await told(storage, twist, manifest(method("page", "request="))) == []
        assert await told(storage, twist, manifest(method("page", "request"))) == [
            "page(): its arguments do not fit: missing a required argument: 'request': 1 task of instance one"
        ]


async def test_a_method_answers_to_its_former_names(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page", "other")
        await one_with(storage, twist, callback("cb_x", "page"), callback("cb_y", "other"))
        assert await told(storage, twist, manifest(method("items", renamed_from=["page", "other"]))) == []


async def test_what_is_broken_already_stops_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", "page")
        await one_with(storage, twist, callback("cb_x", "gone"))
        assert await told(storage, twist, manifest("page", "other")) == []


def test_the_refusal_names_the_remedies() -> None:
    text = str(BreaksLive("this version of sync", []))
    assert "@renamed_from" in text
    assert "--force" in text


async def test_a_hundred_thousand_callbacks_are_one_row(tmp_path: Path) -> None:
    async with opened(tmp_path / "walk.db") as storage:
        twist = await deployed(storage, "sync", method("page", "*any", "**named"), "other")
        await one_with(storage, twist)
        with closing(apsw.Connection(str(tmp_path / "walk.db"))) as connection:
            connection.execute(MANY)
        assert len(await storage.live_uses("one")) == 2
        assert await told(storage, twist, manifest("other")) == [
            "page(): there is no such method: 100,000 callbacks of instance one"
        ]


MANY = """
    WITH RECURSIVE numbers (x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM numbers WHERE x + 1 < 100000)
    INSERT INTO callbacks (instance, token, ns, target_ns, method, asked_at, arguments)
    SELECT 'one', 'cb_' || x, '', '', 'page', 0, cast('[[' || x || '],' || iif(x % 2, '{}', '{"n":' || x || '}') || ']' AS BLOB) FROM numbers
    """
