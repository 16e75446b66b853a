"""Attacks by hostile twists, and what judges them.

An `Attack` is a twist: real source, deployed for real, run by a real node in the real sandbox. Three things are shown of each one.

    it is held back      with every guard on, the oracle `through` does not fire, the execution ends, and a benign execution of the
                         same instance and of another one answer within a second
    its control          with exactly the guards that hold it back (`held_by`) off, the same source does get through, and the oracle
                         sees it: the attack would work, and the test would notice
    each guard alone     where several guards hold it back, it is held back by each of them with all the others off

To write one:

    Attack(
        name="trace another process",
        source='''
            call("ptrace", PTRACE_ATTACH, given["pid"], 0, 0)      # the body of a method; raising is failing
            return THROUGH
        ''',
        held_by=[seccomp("ptrace"), namespace("pid")],
    )

`source` is the body of `async def attack(self, given)`, `module` goes before the class and runs at import, `members` goes into the class, and
`look` is the body of a second method that is called afterwards, on the same instance and on another one of the same version: what the
attack left behind, it may find. `HELPERS` (below) are at hand in all of them. `bait` prepares something of the host's for the attack to go
for, a file with a secret for one, and tells the attack where (`given`). `through` is the oracle; the usual ones are `says_so` (the attack
found that it worked), `says_secret` (the bait's secret came out) and `bait_taken` (seen on the host, whatever the attack says).

`Stages` gives a `Stage` for each set of guards that are off: a sandbox with a node on it, kept and shared while it is of use.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import textwrap
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec
import pytest

from ropewalk.sandbox.facts import HostFacts
from ropewalk.sandbox.interface import RefusedImport
from ropewalk.sandbox.profile import describe_profile, make_plan
from ropewalk.sandbox.source import ForkSource
from ropewalk.sandbox.syscalls import NUMBERS
from ropewalk.service.bundles import pack
from ropewalk.service.releasing import Releases
from ropewalk.storage.records import Execution, LogQuery
from tests.escape.guards import Guard, together
from tests.harness.runtime import Runtime, open_runtime

THROUGH: Final = "through"
"""What an attack returns that found that it worked."""

BAITS: Final = Path(tempfile.gettempdir(), f"ropewalk-baits-{os.getpid()}")
"""A folder of the host's for baits that are files: everyone may do anything in it."""

HELPERS: Final = '''
import ctypes, errno, mmap, os, resource, signal, socket, struct, sys, threading, time
from typing import ClassVar
from ropewalk import *

THROUGH = "through"
HERE = os.path.dirname(__file__)
NUMBERS = {numbers}
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
READ, WRITE, EXECUTE = 1, 2, 4
SHARED, PRIVATE, ANONYMOUS = 1, 2, 32

def call(name, *arguments):
    """Make a system call, by name or number; raises OSError."""
    number = NUMBERS[name] if isinstance(name, str) else name
    ctypes.set_errno(0)
    padded = [ctypes.c_long(one) if isinstance(one, int) else one for one in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    result = libc.syscall(ctypes.c_long(number), *padded)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{{name}}: {{os.strerror(ctypes.get_errno())}}")
    return result

def map_memory(protection, flags, fd=-1, size=4096):
    """Map memory and return its address; raises OSError."""
    address = libc.mmap(None, size, protection, flags, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    return address

def machine_code(name, *types):
    """Map a file of the bundle as code, and return it as a function of these types, the first of which is its result's."""
    code = os.open(f"{{HERE}}/{{name}}", os.O_RDONLY)
    return ctypes.CFUNCTYPE(*types)(map_memory(READ | EXECUTE, PRIVATE, code))

def neighbours():
    """Yield the numbers that other processes of the sandbox are likely to have."""
    me = os.getpid()
    yield from (pid for pid in range(max(1, me - 200), me + 50) if pid != me)

def any_works(attempts):
    """Return THROUGH when any of these functions does not raise OSError; raise what the last one raised otherwise."""
    last = None
    for attempt in attempts:
        try:
            attempt()
            return THROUGH
        except OSError as error:
            if last is None or error.errno != errno.ESRCH:
                last = error
    raise last
'''
"""What every attack has at hand."""

TWIST: Final = """
{helpers}
{module}

class Attacker(Twist):
    limits: ClassVar[Limits] = Limits(cpu=10.0, wall=20.0)

{members}

    async def attack(self, given):
{source}

    async def look(self, given):
{look}

    async def benign(self):
        await self.set("benign", True)
        return "fine"
"""

BYSTANDER: Final = """
from ropewalk import Twist

class Bystander(Twist):
    async def benign(self):
        await self.set("benign", True)
        return "fine"
"""


# ── What an attack is ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Bait:
    """Something of the host's that an attack goes for.

    `given` is what the attack is told, as JSON; `secret` is what it must not say; `taken` whether the host saw it go for it.
    """

    def __init__(self, *, secret: str = "", taken: Callable[[], bool] = lambda: False, **given: Any) -> None:
        self.given = given
        self.secret = secret
        self.taken = taken


@contextlib.contextmanager
def nothing() -> Iterator[Bait]:
    """No bait."""
    yield Bait()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an attack.

    `refused` when the deploy was; else `execution` is the attack's, or the activation where that failed. `seen` is what `look` found afterwards, on the same instance and on
    another: results, or None where it failed. `logs` are the attack's.
    """

    bait: Bait
    refused: RefusedImport | None = None
    execution: Execution | None = None
    result: Any = None
    seen: Sequence[Any] = ()
    logs: Sequence[str] = ()

    @property
    def error(self) -> str:
        """The class or limit that ended the attack, "" when it returned."""
        return self.execution.error.type if self.execution and self.execution.error else ""

    @property
    def text(self) -> str:
        """Everything that came out of it."""
        why = self.execution.error if self.execution else self.refused
        return repr((self.result, self.seen, self.logs, why))


def says_so(outcome: Outcome) -> bool:
    """The attack found that it worked."""
    return outcome.result == THROUGH or THROUGH in outcome.seen


def says_secret(outcome: Outcome) -> bool:
    """The bait's secret came out."""
    return outcome.bait.secret in outcome.text


def bait_taken(outcome: Outcome) -> bool:
    """The host saw that it worked, whatever the attack says."""
    return outcome.bait.taken()


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A hostile twist; the module says how to write one.

    With `prepare` its method of that name, among `members`, runs first on another instance, and what it returns is told to the attack.
    `optional`: not every kernel has what it abuses. `needs_namespaces`: a sandbox made without them does not
    hold it back, or not at once.
    """

    name: str
    source: str
    held_by: Sequence[Guard]
    module: str = ""
    members: str = ""
    look: str = "return None"
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    bait: Callable[[], AbstractContextManager[Bait]] = nothing
    through: Callable[[Outcome], bool] = says_so
    prepare: bool = False
    optional: bool = False
    needs_namespaces: bool = False

    def __str__(self) -> str:
        return self.name

    def write(self, folder: Path) -> Path:
        """Write it as a folder that can be deployed."""
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        text = TWIST.format(
            helpers=HELPERS.format(numbers=NUMBERS),
            module=textwrap.dedent(self.module),
            members=_body(self.members, 4),
            source=_body(self.source, 8),
            look=_body(self.look, 8),
        )
        (folder / "twist.py").write_text(text, encoding="utf-8")
        return folder


def _body(text: str, width: int) -> str:
    return textwrap.indent(textwrap.dedent(text), " " * width)


# ── Where attacks are made ────────────────────────────────────────────────────────────────────────────────────────────────────


class Stage:
    """A sandbox without some guards, with a node on it and a bystander, for attack after attack.

    Args:
        runtime: the node.
        off: the guards that it is without, together.
        bystander: an instance of a benign twist.
    """

    def __init__(self, runtime: Runtime, off: Guard, bystander: str) -> None:
        self.runtime = runtime
        self._off = off
        self._bystander = bystander

    async def make(self, attack: Attack, folder: Path) -> tuple[Outcome, str | None]:
        """Deploy the attack and have it run; returns also its instance, None when there is none that works."""
        with attack.bait() as bait, _node_without(self._off):
            return await self._make(attack, bait, folder)

    async def _make(self, attack: Attack, bait: Bait, folder: Path) -> tuple[Outcome, str | None]:
        runtime, name = self.runtime, folder.name
        try:
            await Releases(runtime.service).deploy(pack(attack.write(folder)), name=name, dry_run=False)
        except RefusedImport as refused:
            return Outcome(bait=bait, refused=refused), None
        looks = attack.look != Attack.look
        instance, *others = [await runtime.activate(name) for _ in range(1 + (looks or attack.prepare))]
        activation = await runtime.finish((await runtime.executions(instance))[0].id)
        if activation.status != "succeeded":
            return Outcome(bait=bait, execution=activation), None
        given = await self._result(others[0], "prepare", bait.given) if attack.prepare else bait.given
        execution = await runtime.finish(await runtime.queue(instance, "attack", given))
        seen = [await self._result(one, "look", given) for one in (instance, *others)] if looks else []
        logs = await runtime.storage.logs(LogQuery(execution=execution.id))
        outcome = Outcome(
            bait=bait,
            execution=execution,
            result=_json(execution),
            seen=seen,
            logs=[line.line.message for line in logs],
        )
        # What the bait says is asked while it is still there, and while the node goes on.
        bait.taken = _constantly(await asyncio.to_thread(bait.taken))
        return outcome, instance

    async def _result(self, instance: str, method: str, *arguments: object) -> Any:
        return _json(await self.runtime.finish(await self.runtime.queue(instance, method, *arguments)))

    async def seconds_to_answer(self, instance: str | None = None) -> float:
        """Have the instance (the bystander when None) do something benign, and return how long that took."""
        began = time.monotonic()
        assert await self.runtime.invoke(instance or self._bystander, "benign") == "fine"
        return time.monotonic() - began


def _json(execution: Execution) -> Any:
    return msgspec.json.decode(execution.result) if execution.result else None


def _constantly(value: bool) -> Callable[[], bool]:
    return lambda: value


class Stages:
    """The stages of a session, each made when first asked for; the one used longest ago makes room for another.

    Args:
        folder: where they live, readable by every user.
        facts: the host, or what it is to be taken for.
        most: how many there may be at once.
    """

    def __init__(self, folder: Path, facts: HostFacts, most: int = 6) -> None:
        self.facts = facts
        self._folder = folder
        self._most = most
        self._open: OrderedDict[str, tuple[Stage, contextlib.AsyncExitStack]] = OrderedDict()

    def new_folder(self, attack: Attack) -> Path:
        """Return the path of a new folder for an attack's source, named after it."""
        slug = "".join(letter if letter.isalnum() else "-" for letter in attack.name)[:60].strip("-")
        return self._folder / "sources" / f"{slug}-{secrets.token_hex(4)}"

    async def without(self, guards: Sequence[Guard] = ()) -> Stage:
        """Return the stage that has every guard but these."""
        off = together(" + ".join(sorted(guard.name for guard in guards)), *guards)
        if off.name not in self._open:
            if len(self._open) >= self._most:
                await self._close_one()
            stack = contextlib.AsyncExitStack()
            self._open[off.name] = await stack.enter_async_context(self._opened(off)), stack
        self._open.move_to_end(off.name)
        return self._open[off.name][0]

    async def close(self) -> None:
        """Close all."""
        while self._open:
            await self._close_one()

    async def _close_one(self) -> None:
        name = next((name for name in self._open if name), "")  # the one with every guard is used all the time
        _, stack = self._open.pop(name)
        await stack.aclose()

    @contextlib.asynccontextmanager
    async def _opened(self, off: Guard) -> AsyncIterator[Stage]:
        folder = self._folder / secrets.token_hex(4)
        bundles, database = folder / "bundles", folder / "database"
        bundles.mkdir(parents=True)
        database.mkdir()
        source = ForkSource(str(bundles), facts=_with_changed_package(self.facts, off, folder / "package"))
        with _described_without(off):
            await source.start()
        try:
            async with open_runtime(database, source, bundles, **off.settings) as runtime:
                with _node_without(off):
                    bystander = await runtime.run(BYSTANDER)
                yield Stage(runtime, off, bystander)
        finally:
            await source.stop()


@contextlib.contextmanager
def _node_without(off: Guard) -> Iterator[None]:
    """Have nodes do without some guards of their own within the block."""
    with contextlib.ExitStack() as stack:
        for path, value in off.host.items():
            stack.enter_context(mock.patch(path, value))
        yield


@contextlib.contextmanager
def _described_without(off: Guard) -> Iterator[None]:
    """Have sandboxes that are started within the block made without some guards."""

    def describe_without(*arguments: Any) -> Any:
        profile = describe_profile(*arguments)
        return off.profile(profile) if off.profile else profile

    def make_without(*arguments: Any) -> Any:
        plan = make_plan(*arguments)
        return off.plan(plan) if off.plan else plan

    with mock.patch.multiple("ropewalk.sandbox.source", describe_profile=describe_without, make_plan=make_without):
        yield


def _with_changed_package(facts: HostFacts, off: Guard, folder: Path) -> HostFacts:
    """Return the facts with a copy of the package in place of the package, where a guard is in the guest's own code."""
    if not off.guest:
        return facts
    package = folder / "ropewalk"
    shutil.copytree(facts.package, package)
    for path, lines in off.guest.items():
        with (package / path).open("a", encoding="utf-8") as module:
            module.write(lines)
    return msgspec.structs.replace(facts, package=str(package))


# ── The three things that are shown ───────────────────────────────────────────────────────────────────────────────────────────

A_SECOND: Final = 1.0
"""How soon after an attack everyone else is answered."""

_NOT_THERE: Final = [
    os.strerror(code) for code in (errno.ENOSYS, errno.EAFNOSUPPORT, errno.ENOPKG, errno.EOPNOTSUPP, errno.ENOPROTOOPT)
]

_SLOWEST: Final = 20
"""Times as long as before the attack that an answer may take on a machine too busy for that second."""


async def assert_held_back(stages: Stages, attack: Attack) -> None:
    """Fail unless every guard together hold the attack back, and nobody else notices it."""
    stage = await stages.without()
    before = await stage.seconds_to_answer()
    outcome, instance = await stage.make(attack, stages.new_folder(attack))
    assert not attack.through(outcome), f"{attack} got through: {outcome.text}"
    patience = max(A_SECOND, _SLOWEST * before)
    for whose, one in (("the same", instance), ("another", None)):
        if whose == "another" or one is not None:
            assert await stage.seconds_to_answer(one) <= patience, f"after {attack}, {whose} instance was slow to answer"


async def assert_held_back_by(stages: Stages, attack: Attack, guard: Guard) -> None:
    """Fail unless one of its guards holds the attack back with the others off."""
    missing = guard.missing(stages.facts)
    if missing:
        pytest.skip(missing)
    stage = await stages.without([other for other in attack.held_by if other is not guard])
    outcome, _ = await stage.make(attack, stages.new_folder(attack))
    assert not attack.through(outcome), f"{attack} got past {guard}: {outcome.text}"


async def assert_control(stages: Stages, attack: Attack) -> None:
    """Fail unless the attack gets through without its guards: it would work, and the oracle sees it."""
    stage = await stages.without(attack.held_by)
    outcome, _ = await stage.make(attack, stages.new_folder(attack))
    if attack.optional and not attack.through(outcome) and any(words in outcome.text for words in _NOT_THERE):
        pytest.skip(f"this kernel has nothing to attack: {outcome.text}")
    assert attack.through(outcome), f"{attack} fails even without {', '.join(map(str, attack.held_by))}: {outcome.text}"
