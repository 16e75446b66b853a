"""Methods that answer to the names they had before."""

from __future__ import annotations

import pytest

from ropewalk import renamed_from
from ropewalk.wire.control import Imported, ImportFailed
from ropewalk.wire.messages import CallbackCreate, Target
from tests.guest.playing import IN_BOTH_MODES, MakeVersion

RENAMED = """
class Feed(Tool):
    @renamed_from("read", "fetch")
    async def poll(self, page: int) -> str:
        return f"polled {page}"

class Sample(Twist):
    feed = Feed()

    @renamed_from("page")
    @renamed_from("sync_page")
    async def sync_items(self, number: int = 0) -> str:
        return f"items {number}"

    async def main(self):
        return str(await self.callback("sync_page", 1))

    async def direct(self):
        return await self.run(await self.callback("read"))
"""


@IN_BOTH_MODES
@pytest.mark.parametrize(
    ("ns", "method", "result"),
    [("", "sync_items", "items 3"), ("", "page", "items 3"), ("", "sync_page", "items 3"), ("feed", "read", "polled 3")],
)
def test_an_event_for_a_former_name_runs_the_method(module: MakeVersion, ns: str, method: str, result: str) -> None:
    with module(RENAMED).attempt(method, 3, ns=ns) as guest:
        assert guest.result() == result


@IN_BOTH_MODES
def test_a_callback_by_a_former_name_is_made_under_the_present_one(module: MakeVersion) -> None:
    with module(RENAMED).attempt() as guest:
        guest.result()
        (call,) = guest.calls
    assert isinstance(call, CallbackCreate)
    assert call.target == Target(ns="", method="sync_items", arguments=b"[[1],{}]")


@IN_BOTH_MODES
def test_a_tool_s_former_names_are_its_own(module: MakeVersion) -> None:
    with module(RENAMED).attempt("direct") as guest:
        assert guest.raised().type == "CallbackNotFound"


def test_former_names_are_declared(module: MakeVersion) -> None:
    said = module(RENAMED).load()
    assert isinstance(said, Imported), said
    former = {(method.ns, method.name): method.renamed_from for method in said.manifest.methods if method.renamed_from}
    assert former == {("", "sync_items"): ["page", "sync_page"], ("feed", "poll"): ["fetch", "read"]}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "@renamed_from('main')\n    async def other(self): ...\n    async def main(self): ...",
            "Sample.other is renamed_from 'main'",
        ),
        (
            "@renamed_from('a')\n    async def b(self): ...\n    @renamed_from('a')\n    async def c(self): ...",
            "which is Sample.b's",
        ),
        ("@renamed_from('a')\n    def b(self): ...", "Sample.b has former names and is not async"),
        ("@renamed_from('begin')\n    async def activate(self, priority): ...", "the runtime calls it by its own name"),
        ("@renamed_from('not a name')\n    async def b(self): ...", "that is no method's name"),
        ("@renamed_from()\n    async def b(self): ...", "takes the names that the method had"),
    ],
)
def test_names_that_clash_are_refused(module: MakeVersion, body: str, said: str) -> None:
    refused = module(f"class Sample(Twist):\n    {body}\n").load()
    assert isinstance(refused, ImportFailed)
    assert said in refused.message
    assert refused.message.startswith("twist_under_test.py:")


def test_what_is_decorated_stays_as_it_is() -> None:
    async def method() -> int:
        return 1

    assert renamed_from("old")(method) is method
    with pytest.raises(TypeError, match="takes names, not 5"):
        renamed_from(5)  # type: ignore[arg-type]
