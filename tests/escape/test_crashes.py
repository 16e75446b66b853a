"""An author's code may break its own interpreter in every way: that ends its process, and no other."""

from __future__ import annotations

import os

import pytest

from ropewalk.storage.records import ErrorInfo
from tests.escape.harness import HELPERS, Stages
from tests.harness.processes import kill, zygote_tree
from tests.harness.runtime import Runtime
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = '''
import faulthandler, opcode

BORN = os.urandom(8).hex()

def op(name, argument=0):
    """Return an instruction, its argument as wide as it needs to be."""
    wide = [octet for shift in (24, 16, 8) if argument >> shift for octet in (opcode.opmap["EXTENDED_ARG"], argument >> shift & 255)]
    return [*wide, opcode.opmap[name], argument & 255]

def by_hand(*code):
    """Return what bytecode returns that no compiler would write."""
    made = (lambda: None).__code__.replace(co_code=bytes(sum([op("RESUME"), *code], [])), co_consts=(), co_stacksize=20)
    return type(by_hand)(made, {{}})()

class Breaks(Twist):
    async def born(self):
        """Return what the import of this version drew: another import draws another."""
        return BORN

    async def breaks(self):
        {source}
'''

WAYS = {
    "a constant from beyond the constants": "return str(by_hand(op('LOAD_CONST', 1 << 24), op('RETURN_VALUE')))",
    "a local from beyond the locals": "return by_hand(op('LOAD_CONST', 1 << 4), op('STORE_FAST', 1 << 28), op('RETURN_VALUE'))",
    "more off the stack than is on it": "return by_hand(*[op('POP_TOP')] * 5000, op('RETURN_VALUE'))",
    "a jump out of the code": "return by_hand(op('JUMP_FORWARD', 1 << 28))",
    "a read at no address": "ctypes.string_at(0)",
    "a type overwritten": "ctypes.memset(id(dict), 255, 400)",
    "a jump to nowhere": "ctypes.CFUNCTYPE(None)(0x41414141)()",
    "data run as code": "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.create_string_buffer(bytes([0xC3] * 64))))()",
    "every page given back": "libc.munmap(ctypes.c_void_p(1 << 20), ctypes.c_size_t((1 << 47) - (1 << 21)))",
    "memory freed twice": "libc.free(ctypes.c_void_p(id(BORN) + 16))",
    "an abort": "os.abort()",
    "a stack that never ends": "sys.setrecursionlimit(1 << 30); f = lambda: sorted([0], key=lambda _: f()); f()",
}


async def born(runtime: Runtime, instance: str) -> str:
    """Return which import of its version answers for an instance."""
    drawn: str = await runtime.invoke(instance, "born")
    return drawn


async def breaking(stages: Stages, source: str) -> tuple[Runtime, str]:
    """Deploy a twist that breaks in a way; returns also an instance of it."""
    runtime = (await stages.without()).runtime
    return runtime, await runtime.run(HELPERS.format(numbers={}) + TWIST.format(source=source))


@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_interpreter_ends_its_process_and_no_other(stages: Stages, way: str) -> None:
    runtime, instance = await breaking(stages, f"faulthandler.disable()\n        {WAYS[way]}")
    before = await born(runtime, instance)
    why: ErrorInfo = await runtime.failure(instance, "breaks")
    assert (why.type, "signal" in why.message) == ("crash", True), why
    assert await born(runtime, instance) == before, "the version had to be imported anew"


async def test_the_end_of_a_zygote_would_be_noticed(stages: Stages) -> None:
    runtime, instance = await breaking(stages, "pass")
    before = await born(runtime, instance)
    for pid in zygote_tree(os.getpid()).versions:
        kill(pid)

    async def is_another() -> bool:
        return await born(runtime, instance) != before

    await eventually(is_another, "another import to answer")
