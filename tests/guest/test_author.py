"""What a module has to be to become a version, and what is said when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ropewalk.wire.control import (
    Imported,
    ImportFailed,
    LimitsInfo,
    Manifest,
    Method,
    OptionField,
    Parameter,
    RetryInfo,
    ToolInfo,
)
from tests.guest.playing import MakeVersion, Version, Zygote


def manifest(version: Version, cls: str | None = None) -> Manifest:
    said = version.load(cls)
    assert isinstance(said, Imported), said
    return said.manifest


def refusal(version: Version, cls: str | None = None) -> ImportFailed:
    said = version.load(cls)
    assert isinstance(said, ImportFailed)
    return said


def test_a_twist_is_described(module: MakeVersion) -> None:
    found = manifest(
        module("""
        from datetime import timedelta
        from enum import Enum
        from typing import Literal

        class Size(Enum):
            SMALL = "small"

        class SampleOptions(Options):
            url: str
            count: int = 5
            ratio: float = 0.5
            loud: bool = False
            name: str | None = None
            every: timedelta = timedelta(hours=1)
            mode: Literal["a", "b"] = "a"
            size: Size = Size.SMALL
            tags: list[str] = []
            either: int | str = 1

        class Calendar(Tool):
            plot = Plot(activity_access="read")
            async def sync(self, page: int = 1) -> None: ...

        class Sample(Twist):
            '''Copies things.

            In detail.
            '''
            options: SampleOptions
            limits = Limits(cpu=timedelta(seconds=10), memory=2**26, requests=5)
            retry = RetryPolicy(attempts=2, ordered=True)
            network = Network(urls=["https://example.com/*"])
            calendar = Calendar()
            async def activate(self, priority): ...
            async def step(self, a, /, b: int, *rest: int, c: str = "x", **more: int) -> None: ...
            def plain(self): ...
            async def _private(self): ...
        """)
    )
    assert (found.cls, found.description) == ("Sample", "Copies things.\n\nIn detail.")
    assert found.limits == LimitsInfo(cpu=10.0, memory=2**26, requests=5)
    assert found.retry == RetryInfo(attempts=2, ordered=True)
    assert found.tools == [
        ToolInfo(ns="network", kind="Network", options=b'{"urls":["https://example.com/*"]}'),
        ToolInfo(ns="calendar", kind="custom"),
        ToolInfo(ns="calendar.plot", kind="Plot", options=b'{"activity_access":"read"}'),
    ]
    assert [(method.ns, method.name) for method in found.methods] == [
        ("", "activate"),
        ("", "step"),
        ("", "_private"),
        ("calendar", "sync"),
    ]
    assert found.methods[1] == Method(
        ns="",
        name="step",
        parameters=[
            Parameter(name="a", kind="POSITIONAL_ONLY", required=True),
            Parameter(name="b", kind="POSITIONAL_OR_KEYWORD", required=True),
            Parameter(name="rest", kind="VAR_POSITIONAL", required=False),
            Parameter(name="c", kind="KEYWORD_ONLY", required=False),
            Parameter(name="more", kind="VAR_KEYWORD", required=False),
        ],
    )
    assert found.options[:2] == [
        OptionField(ns="", name="url", type="string", annotation="str", required=True, schema=b'{"type":"string"}'),
        OptionField(
            ns="", name="count", type="integer", annotation="int", required=False, default=b"5", schema=b'{"type":"integer"}'
        ),
    ]
    assert {field.name: (field.type, field.default) for field in found.options[2:]} == {
        "ratio": ("number", b"0.5"),
        "loud": ("boolean", b"false"),
        "name": ("string", b"null"),
        "every": ("string", b'"PT3600S"'),
        "mode": ("string", b'"a"'),
        "size": ("string", b'"small"'),
        "tags": ("json", b"[]"),
        "either": ("json", b"1"),
    }


def test_imported_and_private_twists_do_not_count(module: MakeVersion) -> None:
    version = module("""
    from other import Base
    class _Helper(Base): ...
    class Sample(_Helper):
        async def own(self): ...
    """)
    (version.folder / "other.py").write_text(
        "from ropewalk import Twist\nclass Base(Twist):\n    async def inherited(self): ...\n", encoding="utf-8"
    )
    found = manifest(version)
    assert [method.name for method in found.methods] == ["inherited", "own"]


def test_the_configuration_may_name_one_of_several(module: MakeVersion) -> None:
    version = module("class One(Twist): ...\nclass Two(Twist): ...")
    assert manifest(version, "Two").cls == "Two"


def test_annotations_may_be_texts_and_need_not_have_a_json_form(module: MakeVersion) -> None:
    source = """
    class Client: ...
    class Sample(Twist):
        async def helper(self, client: "Client", later: "Later") -> "Later": ...
    class Later: ...
    """
    assert [method.name for method in manifest(module(source)).methods] == ["helper"]


REFUSED = {
    "no twist": ("class Sample: ...", "BadTwist", "twist_under_test defines no twist"),
    "two twists": ("class One(Twist): ...\nclass Two(Twist): ...", "BadTwist", "defines 2 twists, One and Two"),
    "syntax": ("class Sample(Twist):\n    async def main(self:\n        ...", "SyntaxError", "twist_under_test.py:5: "),
    "missing package": (
        "import requests_of_nobody",
        "ModuleNotFoundError",
        "twist_under_test.py:4: there is no module 'requests_of_nobody'",
    ),
    "missing name": ("from ropewalk import Nothing", "ImportError", "cannot import name 'Nothing'"),
    "raises": ("1 / 0", "ZeroDivisionError", "twist_under_test.py:4: ZeroDivisionError: division by zero"),
    "exits": ("sys.exit('bye')", "SystemExit", "SystemExit: bye"),
    "recursion": ("def deep(): deep()\ndeep()", "RecursionError", "maximum recursion depth"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
    "hostile exception": (
        "class Bad(BaseException):\n    def __str__(self): raise SystemExit\nraise Bad",
        "Bad",
        "<its __str__ raised SystemExit>",
    ),
    "lifecycle not async": (
        "class Sample(Twist):\n    def activate(self, priority): ...",
        "BadTwist",
        "py:5: Sample.activate is not async",
    ),
    "activate without priority": (
        "class Sample(Twist):\n    async def activate(self): ...",
        "BadTwist",
        "write async def activate(self, priority: Priority)",
    ),
    "upgrade with an argument": (
        "class Sample(Twist):\n    async def upgrade(self, what): ...",
        "BadTwist",
        "write async def upgrade(self)",
    ),
    "hook not async": (
        "class Part(Tool):\n    def pre_activate(self, priority): ...\nclass Sample(Twist):\n    part = Part()",
        "BadTwist",
        "Part.pre_activate is not async",
    ),
    "hides the SDK's method": ("class Sample(Twist):\n    async def run(self): ...", "BadTwist", "py:5: Sample.run hides"),
    "hides the SDK's property": ("class Sample(Twist):\n    log = 5", "BadTwist", "Sample.log hides"),
    "tool under a taken name": ("class Sample(Twist):\n    execution = Plot()", "BadTwist", "Sample.execution hides"),
    "tool's class": ("class Sample(Twist):\n    plot = Plot", "BadTwist", "write plot = Plot(...)"),
    "own tool's class": (
        "class Part(Tool): ...\nclass Sample(Twist):\n    class Fine(Tool): ...\n    part = Part",
        "BadTwist",
        "write part = Part(...)",
    ),
    "limits": ("class Sample(Twist):\n    limits = {'cpu': 5}", "BadTwist", "write limits = Limits(...)"),
    "limits' values": ("class Sample(Twist):\n    limits = Limits(cpu=-1)", "ValueError", "Limits(cpu=)=-1 is not above zero"),
    "limits' names": ("class Sample(Twist):\n    limits = Limits(cpus=1)", "TypeError", "cpus"),
    "retry": ("class Sample(Twist):\n    retry = 5", "BadTwist", "write retry = RetryPolicy(...)"),
    "retry's values": (
        "class Sample(Twist):\n    retry = RetryPolicy(attempts=0)",
        "ValueError",
        "RetryPolicy(attempts=)0 is below 1",
    ),
    "concurrency": ("class Sample(Twist):\n    concurrency = 2", "BadTwist", "Sample.concurrency is 2"),
    "init with arguments": (
        "class Sample(Twist):\n    def __init__(self, url): ...",
        "BadTwist",
        "Sample.__init__ takes arguments",
    ),
    "unresolvable annotation": (
        "class Sample(Twist):\n    async def step(self, one: 'Gone'): ...",
        "BadTwist",
        "py:5: an annotation of Sample.step cannot be resolved: NameError: name 'Gone'",
    ),
    "options are no Options": (
        "class Sample(Twist):\n    options: dict[str, str]",
        "BadTwist",
        "use a subclass of ropewalk.Options",
    ),
    "options assigned": (
        "class O(Options): ...\nclass Sample(Twist):\n    options = O()",
        "BadTwist",
        "Sample.options has no annotation: write options: O",
    ),
    "options unresolvable": ("class Sample(Twist):\n    options: 'Gone'", "BadTwist", "Sample.options cannot be resolved"),
    "an option's type unresolvable": (
        "class O(Options):\n    one: 'Gone'\nclass Sample(Twist):\n    options: O",
        "BadTwist",
        "the fields of O cannot be read: NameError",
    ),
    "an option without a type": (
        "class O(Options):\n    one = 5\n    def fine(self): ...\nclass Sample(Twist):\n    options: O",
        "BadTwist",
        "O.one has no type: write one: int = 5",
    ),
    "an option's default": (
        "class O(Options):\n    one: object = print\nclass Sample(Twist):\n    options: O",
        "BadTwist",
        "the default of 'O.one' cannot be stored",
    ),
    "an option that cannot be checked": (
        "class O(Options):\n    one: object = 1\nclass Sample(Twist):\n    options: O",
        "BadTwist",
        "O.one: what is given for a object cannot be checked at activation",
    ),
    "a secret of another type": (
        "from ropewalk import secret\nclass O(Options):\n    token: str = secret()\nclass Sample(Twist):\n    options: O",
        "BadTwist",
        "O.token is a secret(): write token: Secret = secret(…)",
    ),
    "a secret within a list": (
        "from ropewalk import Secret\nclass O(Options):\n    tokens: list[Secret] = []\nclass Sample(Twist):\n    options: O",
        "BadTwist",
        "O.tokens has a Secret within another type",
    ),
    "a secret that goes nowhere": (
        "from ropewalk import Secret, secret\nclass O(Options):\n    token: Secret = secret(urls=['https://x.test/*'])",
        "TypeError",
        "needs to know where the host is to put it",
    ),
    "a tool's secret": (
        "from ropewalk import Secret\nclass O(Options):\n    token: Secret\nclass Part(Tool):\n    options: O\n"
        "class Sample(Twist):\n    part = Part(token='x')",
        "BadTwist",
        "O.token is a Secret, and a tool's options stand in the code",
    ),
    "a hook without options": (
        "class Sample(Twist):\n    async def options_changed(self, before): ...",
        "BadTwist",
        "Sample has options_changed() and no options",
    ),
    "a hook that takes nothing": (
        "class O(Options):\n    one: int = 1\nclass Sample(Twist):\n    options: O\n    async def options_changed(self): ...",
        "BadTwist",
        "write async def options_changed(self, before)",
    ),
    "tool's options unknown": (
        "class Part(Tool): ...\nclass Sample(Twist):\n    part = Part(colour='red')",
        "BadTwist",
        "Sample.part = Part(...) is given colour, and takes no options",
    ),
    "tool's options misspelt": (
        "class O(Options):\n    size: int = 1\nclass Part(Tool):\n    options: O\nclass Sample(Twist):\n    part = Part(sise=2)",
        "BadTwist",
        "is given sise, which O does not have",
    ),
    "tool's options of a wrong type": (
        "class O(Options):\n    size: int = 1\nclass Part(Tool):\n    options: O\nclass Sample(Twist):\n    part = Part(size='big')",
        "BadTwist",
        "Expected `int`, got `str` - at `$.size`",
    ),
    "tool's options missing": (
        "class O(Options):\n    size: int\nclass Part(Tool):\n    options: O\nclass Sample(Twist):\n    part = Part()",
        "BadTwist",
        "missing required field `size`",
    ),
    "a tool within itself": (
        "class Part(Tool): ...\nPart.part = Part()\nclass Sample(Twist):\n    part = Part()",
        "BadTwist",
        "a tool that declares its own class never ends",
    ),
    "one url for several": ("class Sample(Twist):\n    network = Network(urls='*')", "TypeError", "takes a list of URL patterns"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_well_formed_is_refused_by_name(module: MakeVersion, name: str) -> None:
    source, kind, words = REFUSED[name]
    said = refusal(module(source))
    assert said.type == kind
    assert words in said.message
    assert "ropewalk/guest" not in said.traceback


def test_the_authors_traceback_comes_along(module: MakeVersion) -> None:
    said = refusal(module("def helper():\n    1 / 0\nhelper()"))
    assert said.traceback.startswith("Traceback")
    assert "in helper" in said.traceback
    assert "importlib" not in said.traceback


def test_a_class_that_is_not_there_is_named(module: MakeVersion) -> None:
    assert "has no Twist named 'Gone'" in refusal(module("class Sample(Twist): ..."), "Gone").message


def test_a_module_that_is_not_there_is_named(zygote: Zygote, tmp_path: Path) -> None:
    version = Version(zygote, tmp_path, "", name="present")
    (tmp_path / "present.py").unlink()
    assert refusal(version).message == "there is no module 'present' in the bundle"


def test_a_module_may_not_take_the_name_of_pythons_own(zygote: Zygote, tmp_path: Path) -> None:
    said = refusal(Version(zygote, tmp_path, "class Sample(Twist): ...", name="json"))
    assert "the module's name 'json' is already that of a Python module" in said.message


def test_importing_has_no_effect_anywhere(module: MakeVersion) -> None:
    """A twist's module may be imported by tools and tests; only the runtime makes twists."""
    import runpy

    version = module("class Sample(Twist):\n    plot = Plot()\n    network = Network(urls=['*'])")
    names = runpy.run_path(str(version.folder / "twist_under_test.py"))
    with pytest.raises(RuntimeError, match=r"ropewalk\.testing"):
        names["Sample"]()
    with pytest.raises(RuntimeError, match="through the twist that declares it"):
        names["Sample"].plot.create_note("x", None).send(None)
