"""What the root zygote imported lives for ever and is not written to by being used; what an author made lives as long as it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.sandbox.bench import Bench

in_the_sandbox = pytest.mark.asyncio(loop_scope="session")

HAS_IMMORTALS = sys.version_info >= (3, 12)
FOR_EVER = 2**31


@in_the_sandbox
async def test_what_the_libraries_consist_of_is_not_counted(bench: Bench) -> None:
    body = "import json, sys; return [sys.getrefcount(one) for one in (json.dumps, json.dumps.__code__, str.join, Twist, call)]"
    *libraries, own = await bench.run(bench.twist(body, "def call(): pass"))
    assert [count >= FOR_EVER for count in libraries] == [HAS_IMMORTALS] * 4
    assert own < 20


@in_the_sandbox
async def test_an_authors_objects_are_finalised_when_nothing_uses_them(bench: Bench) -> None:
    before = """
    import weakref
    ended = []

    class Thing:
        def __del__(self):
            ended.append("finalised")

    thing = Thing()
    seen = weakref.ref(thing)
    """
    body = "global thing; thing = None; return [ended, seen() is None]"
    assert await bench.run(bench.twist(body, before)) == [["finalised"], True]


def test_a_process_goes_on_and_ends_as_ever_with_all_of_it_immortal() -> None:
    code = """
import asyncio, gc, json
from ropewalk.guest import immortal
kept, again = immortal.keep_all(), immortal.keep_all()
gc.collect()
asyncio.run(asyncio.sleep(0))
assert json.loads(json.dumps({"a": [1, None, "b"]})) == {"a": [1, None, "b"]}
print(kept > 10_000, again < 1_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(HAS_IMMORTALS), "True"]
