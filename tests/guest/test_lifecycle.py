"""Lifecycle methods, tools with namespaces of their own, and their hooks."""

from __future__ import annotations

import pytest

from ropewalk.wire.messages import CallbackCreate, StoreWrite
from tests.guest.playing import IN_BOTH_MODES, MakeVersion

pytestmark = IN_BOTH_MODES

TOOLS = """
class LeafOptions(Options):
    word: str = "leaf"
    count: int = 0

class Noting(Tool):
    async def note(self, what):
        await self.set(what, self.execution.trigger)
    async def pre_activate(self, priority): await self.note("pre")
    async def post_activate(self, priority): await self.note("post")
    async def pre_upgrade(self): await self.note("pre")
    async def post_upgrade(self): await self.note("post")
    async def pre_deactivate(self): await self.note("pre")
    async def post_deactivate(self): await self.note("post")

class Leaf(Noting):
    options: LeafOptions

class Branch(Noting):
    left = Leaf(word="left")
    right = Leaf(LeafOptions(count=2))
    plot = Plot()

    async def sum(self, number: int) -> int:
        await self.left.set("seen", number)
        return number + self.right.options.count

class Sample(Twist):
    branch = Branch()
    leaf = Leaf()
    network = Network(urls=["https://example.com/*"])

    async def activate(self, priority: Priority) -> None:
        await self.set("title", priority.title)
    async def upgrade(self) -> None:
        await self.set("previous", self.execution.previous_version)
    async def deactivate(self) -> None:
        await self.set("end", True)

    async def main(self):
        assert self.tools.branch is self.branch and self.branch.tools.left is self.branch.left
        token = await self.branch.callback(self.branch.sum, 3)
        options = [self.branch.left.options.word, self.branch.right.options.word, self.leaf.options.word]
        return [await self.run(token), *options]

    async def twist_method_for_tool(self):
        await self.leaf.callback(self.main)
"""


@pytest.mark.parametrize("trigger", ["activate", "upgrade", "deactivate"])
def test_hooks_run_deepest_first_before_and_outermost_first_after(module: MakeVersion, trigger: str) -> None:
    own = {"activate": "title", "upgrade": "previous", "deactivate": "end"}[trigger]
    with module(TOOLS).attempt(trigger, trigger=trigger, previous_version=2) as guest:
        assert guest.result() is None
        writes = [(call.ns, *call.items) for call in guest.calls if isinstance(call, StoreWrite)]
    before = [(ns, "pre") for ns in ("branch.left", "branch.right", "branch", "leaf")]
    after = [(ns, "post") for ns in ("branch", "branch.left", "branch.right", "leaf")]
    assert writes == [*before, ("", own), *after]


@pytest.mark.parametrize("trigger", ["activate", "upgrade", "deactivate"])
def test_a_twist_without_lifecycle_methods_has_nothing_to_do(twist: MakeVersion, trigger: str) -> None:
    with twist("network = Network(urls=[])").attempt(trigger, trigger=trigger) as guest:
        assert guest.result() is None
        assert guest.calls == []


def test_each_tool_has_its_own_namespace_and_options(module: MakeVersion) -> None:
    with module(TOOLS).attempt() as guest:
        assert guest.result() == [5, "left", "leaf", "leaf"]
        assert guest.store == {("branch.left", "seen"): b"3"}


def test_a_tools_method_runs_in_its_namespace(module: MakeVersion) -> None:
    with module(TOOLS).attempt("sum", 4, ns="branch") as guest:
        assert guest.result() == 6


def test_a_tool_may_hold_a_callback_of_its_twist(module: MakeVersion) -> None:
    with module(TOOLS).attempt("twist_method_for_tool") as guest:
        guest.result()
        (call,) = guest.calls
    assert isinstance(call, CallbackCreate)
    assert (call.ns, call.target.ns, call.target.method) == ("leaf", "", "main")


COMMITTING = """
class Part(Tool):
    async def pre_activate(self, priority):
        await self.commit()
class Sample(Twist):
    {tools}
    async def activate(self, priority):
        await self.commit()
    async def upgrade(self):
        await self.commit()
    async def deactivate(self):
        await self.commit()
    async def main(self):
        await self.commit()
"""


@pytest.mark.parametrize(
    ("trigger", "tools", "where"),
    [
        ("upgrade", "pass", "upgrade()"),
        ("deactivate", "pass", "deactivate()"),
        ("activate", "part = Part()", "pre_activate()"),
    ],
)
def test_commit_is_refused_where_all_happens_or_nothing(module: MakeVersion, trigger: str, tools: str, where: str) -> None:
    with module(COMMITTING.format(tools=tools)).attempt(trigger, trigger=trigger) as guest:
        raised = guest.raised()
        assert (raised.type, guest.calls) == ("PermissionDenied", [])
        assert f"cannot be used in {where}" in raised.message


@pytest.mark.parametrize("trigger", ["activate", "task"])
def test_commit_is_allowed_elsewhere(module: MakeVersion, trigger: str) -> None:
    method = "activate" if trigger == "activate" else "main"
    with module(COMMITTING.format(tools="pass")).attempt(method, trigger=trigger) as guest:
        assert guest.result() is None
        assert len(guest.calls) == 1


OPTIONS = """
from datetime import timedelta
class SampleOptions(Options):
    base_url: str
    every: timedelta = timedelta(hours=1)
    tags: list[str] = []
class Sample(Twist):
    options: SampleOptions
    async def main(self):
        try:
            self.options.base_url = "other"
        except AttributeError:
            return [self.options.base_url, self.options.every.total_seconds(), self.options.tags]
"""


def test_options_are_typed_and_frozen(module: MakeVersion) -> None:
    with module(OPTIONS).attempt(options={"base_url": "x", "every": "PT5M", "gone_since": 1}) as guest:
        assert guest.result() == ["x", 300.0, []]


@pytest.mark.parametrize("options", [{}, {"base_url": 5}, {"base_url": "x", "tags": "y"}])
def test_options_that_do_not_fit_are_not_tried_again(module: MakeVersion, options: dict[str, object]) -> None:
    with module(OPTIONS).attempt(options=options) as guest:
        raised = guest.raised()
    assert (raised.kind, raised.type) == ("unretried", "InvalidValue")
    assert raised.message.startswith("the options of this instance does not fit SampleOptions")


def test_an_init_of_the_authors_own_finds_everything_in_place(module: MakeVersion) -> None:
    source = """
    class Sample(Twist):
        plot = Plot()
        def __init__(self):
            super().__init__()
            self.cache = [self.execution.id, self.plot is self.tools.plot]
        async def main(self):
            return self.cache
    """
    with module(source).attempt() as guest:
        assert guest.result() == ["execution-1", True]


@pytest.mark.parametrize("trigger", ["task", "activate"])
@pytest.mark.parametrize("error", ["OSError", "TypeError"])
def test_an_init_that_raises_is_tried_again(twist: MakeVersion, trigger: str, error: str) -> None:
    body = f"def __init__(self):\n    print('so far')\n    raise {error}\nasync def activate(self, priority): ...\nasync def main(self): ..."
    with twist(body).attempt(trigger=trigger) as guest:
        raised = guest.raised()
        assert guest.lines() == ["so far"]
    assert (raised.kind, raised.type) == ("error", error)


def test_nothing_of_one_attempt_is_seen_by_another(twist: MakeVersion) -> None:
    version = twist("seen = []\nasync def main(self):\n    self.seen.append(1)\n    return len(self.seen)")
    for _ in range(2):
        with version.attempt() as guest:
            assert guest.result() == 1
