"""Changing an instance's options: for what starts afterwards, told once, before everything else."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from ropewalk.answers.secrets import InstanceOptions, OptionsReader
from ropewalk.errors import InvalidValue
from ropewalk.service.changing import change
from ropewalk.service.gate import BreaksLive
from ropewalk.service.options import Given
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.records import Instance
from ropewalk.vault.errors import KeyMissing
from ropewalk.vault.masters import Masters
from ropewalk.vault.rotation import rotate
from ropewalk.wire.control import Manifest
from tests.egress.origin import Connection
from tests.harness.processes import below
from tests.secrets.kept import KEEPER, PIN, TOKEN, Kept

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_starts_afterwards_has_the_new_ones_and_is_told_once(kept: Kept) -> None:
    hook = await kept.change(label="two")
    assert hook is not None
    assert await kept.call("label") == "two"
    told = await kept.runtime.finish(hook)
    assert (told.status, told.trigger, told.target.method) == ("succeeded", "options", "options_changed")
    assert await kept.runtime.get(kept.instance, "heard") == ["one to two: ['label']"]


async def test_a_change_to_the_same_is_none(kept: Kept) -> None:
    await kept.change(label="two")
    assert await kept.change(label="two", pin=PIN) is None


async def test_a_secret_changes_and_is_told_of_without_its_value(kept: Kept) -> None:
    await kept.change(token="another", pin="one-more")
    await kept.call("fetch", f"{kept.origin.url}/api/items")
    assert kept.origin.requests[-1].header("authorization") == "Bearer another"
    assert await kept.call("pin_length") == len("one-more")
    assert await kept.runtime.get(kept.instance, "heard") == ["one to one: ['token', 'pin']"]


async def test_one_that_runs_keeps_its_own(kept: Kept) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> None:
        asked.set()
        await go.wait()
        await connection.answer()

    kept.origin.on("/slow", slow)
    await kept.runtime.start()
    running = await kept.runtime.queue(kept.instance, "slow")
    await asked.wait()
    await kept.change(label="two", base_url=kept.other.url)
    go.set()
    assert (await kept.runtime.finish(running)).result == b'"one one 200"'
    assert await kept.call("label") == "two"


async def test_one_that_was_claimed_before_a_change_begins_after_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[str | None] = []
    read = OptionsReader.read

    async def change_meanwhile(reader: OptionsReader, instance: Instance, manifest: Manifest) -> InstanceOptions:
        if not hooks:
            hooks.append(None)
            hooks.append(await kept.change(token="another", base_url=kept.other.url))
        return await read(reader, instance, manifest)

    monkeypatch.setattr(OptionsReader, "read", change_meanwhile)
    await kept.call("fetch", f"{kept.other.url}/api/items")
    assert kept.other.requests[-1].header("authorization") == "Bearer another"
    assert kept.origin.requests == []
    hook = await kept.runtime.finish(hooks[-1] or "")
    (fetched,) = await kept.runtime.executions(kept.instance, "fetch")
    assert (fetched.lost, hook.status) == (1, "succeeded")
    assert (fetched.started_at or 0) >= (hook.finished_at or 0)


async def test_the_hook_goes_first_also_when_it_is_tried_again(kept: Kept) -> None:
    hook = await kept.change(label="bad")
    later = await kept.runtime.queue(kept.instance, "label")
    assert hook is not None
    assert (await kept.runtime.finish(hook)).status == "dead"
    finished = await kept.runtime.finish(later)
    assert finished.result == b'"bad"'  # the new options stay
    over = await kept.runtime.execution(hook)
    assert over.attempt == 2
    assert (finished.started_at or 0) >= (over.finished_at or 0)


@pytest.mark.parametrize(
    ("label", "says"), [("commits", "commit() cannot be used in options_changed()"), ("reveals", "before the change")]
)
async def test_what_the_hook_may_not(kept: Kept, label: str, says: str) -> None:
    hook = await kept.change(label=label)
    assert hook is not None
    error = (await kept.runtime.finish(hook)).error
    assert error is not None
    assert says in error.message


async def test_what_does_not_fit_changes_nothing(kept: Kept) -> None:
    for given, says in (({"base_url": "https://*"}, "would widen"), ({"labell": "x"}, "did you mean 'label'")):
        with pytest.raises(InvalidValue, match=says):
            await kept.change(**given)
    assert await kept.call("label") == "one"


async def test_of_two_changes_at_once_one_is_to_look_again(kept: Kept) -> None:
    seen = await kept.runtime.instance(kept.instance)
    await kept.change(label="two")
    with pytest.raises(DoesNotApply, match="were changed meanwhile"):
        await change(kept.runtime.service, seen, {"label": Given("three")})
    assert await kept.call("label") == "two"


async def test_a_version_that_wants_more_is_refused_until_it_is_given(kept: Kept) -> None:
    source = KEEPER.read_text().replace('label: str = "one"', 'label: str = "one"\n    region: str')
    with pytest.raises(BreaksLive, match=r"options: the option 'region' \(str\) is required and has no value"):
        await kept.runtime.deploy(source, name="keeper")
    await kept.runtime.deploy(source, name="keeper", force=True)
    await kept.change(region="north")
    await kept.runtime.drain()
    assert await kept.call("label") == "one"


# ── The key, and the memory ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rotation_while_the_node_runs(kept: Kept) -> None:
    await kept.call("pin_length")
    service = kept.runtime.service
    assert (await rotate(service.storage, Masters((), service.settings.key_file))).rewrapped == 1
    await kept.change(pin="after-rotation")
    assert await kept.call("pin_length") == len("after-rotation")


async def test_a_node_without_the_key_says_so_and_loses_nothing(kept: Kept) -> None:
    await kept.runtime.stop()
    file = kept.runtime.service.settings.key_file
    away = file.rename(file.with_name("away"))
    kept.runtime.service.masters._known.clear()
    kept.runtime.service.vault._sealers.clear()
    with pytest.raises(KeyMissing, match=r"ropewalk.db-key is gone: restore that file"):
        await kept.runtime.start()
    kept.runtime._node = None
    away.rename(file)
    assert await kept.call("pin_length") == len(PIN)


async def test_no_process_of_the_sandbox_holds_what_is_injected(kept: Kept) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> None:
        asked.set()
        await go.wait()
        await connection.answer()

    url = kept.origin.on("/api/slow", slow)
    await kept.runtime.start()
    running = await kept.runtime.queue(kept.instance, "fetch_knowing", url)
    await asked.wait()
    held = await asyncio.to_thread(_memory_of, below(os.getpid()), [PIN.encode(), PIN.encode("latin-1")], TOKEN.encode())
    go.set()
    await kept.runtime.finish(running)
    if held is None:
        pytest.skip("the memory of the sandbox's processes cannot be read here: that needs root, or ptrace")
    assert held == (True, False)


def _memory_of(processes: list[int], wanted: list[bytes], unwanted: bytes) -> tuple[bool, bool] | None:
    """Return whether some process holds one of the wanted texts, and whether one holds the unwanted; None when none can be read."""
    parts = [part for process in processes for part in _memory(process)]
    if not parts:
        return None
    return any(text in part for part in parts for text in wanted), any(unwanted in part for part in parts)


def _memory(process: int) -> list[bytes]:
    found: list[bytes] = []
    with contextlib.suppress(OSError), Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if rights.startswith("rw") and "[v" not in line:
                first, last = (int(part, 16) for part in span.split("-"))
                with contextlib.suppress(OSError, ValueError):
                    memory.seek(first)
                    found.append(memory.read(last - first))
    return found
