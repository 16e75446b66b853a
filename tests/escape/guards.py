"""The walls of the sandbox, each as what takes it away, so that a control can run an attack with exactly that one gone.

The profile is data, and so is the plan made from it: a guard is mostly a function from one profile to another with a piece missing.
Nothing here is a flag of production's: what is not data is replaced in this test's own process (`host`), or in a copy of the package
that one sandbox is given (`guest`).
"""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.facts import HostFacts
from ropewalk.sandbox.profile import Profile
from ropewalk.sandbox.seccomp import ALLOW, Ruling, Table
from ropewalk.wire.plan import Bind, Confinement, Plan, ResourceLimit


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One wall, or several, as what takes them away.

    Args:
        name: what the wall is; guards of one name are taken to be the same, and share a sandbox.
        profile: changes the sandbox's description.
        plan: changes what the kernel is asked for, for what the description has no word for.
        guest: lines appended to modules of the package as the sandbox sees it, by path, such as `guest/kernel.py`.
        host: replaces things of the node for as long as a control runs, by dotted path, such as `ropewalk.wire.frames.FRAME_LIMIT`.
        settings: settings of the node, such as a limit raised.
        missing: says why this host has no such wall, "" when it has.
    """

    name: str
    profile: Callable[[Profile], Profile] | None = None
    plan: Callable[[Plan], Plan] | None = None
    guest: dict[str, str] = field(default_factory=dict[str, str])
    host: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    missing: Callable[[HostFacts], str] = lambda _: ""

    def __str__(self) -> str:
        return self.name


def together(name: str, *guards: Guard) -> Guard:
    """Count several as one: what they hold back, none of them is meant to hold back alone."""
    return Guard(
        name=name,
        profile=functools.partial(_one_after_another, [guard.profile for guard in guards if guard.profile]),
        plan=functools.partial(_one_after_another, [guard.plan for guard in guards if guard.plan]),
        guest=_appended(guards),
        host={path: value for guard in guards for path, value in guard.host.items()},
        settings={key: value for guard in guards for key, value in guard.settings.items()},
    )


def _one_after_another(changes: list[Callable[[Any], Any]], value: Any) -> Any:
    return functools.reduce(lambda done, change: change(done), changes, value)


def _appended(guards: tuple[Guard, ...]) -> dict[str, str]:
    lines: dict[str, str] = {}
    for guard in guards:
        for path, text in guard.guest.items():
            lines[path] = lines.get(path, "") + text
    return lines


# ── System calls ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def seccomp(*names: str) -> Guard:
    """The table's verdicts on these system calls: off, they are let through whatever their arguments."""
    freely = dict.fromkeys(names, Ruling(ALLOW))

    def let_through(table: Table) -> Table:
        return replace(table, rulings=table.rulings | freely)

    def change(profile: Profile) -> Profile:
        assert profile.seccomp is not None, "attacks are made on a sandbox"
        networked = None if profile.networked is None else let_through(profile.networked)
        return replace(profile, seccomp=let_through(profile.seccomp), networked=networked)

    return Guard(name=f"seccomp({', '.join(names)})", profile=change)


_RETURN, _RETURN_KILL, _RETURN_ALLOW = 0x06, 0x8000_0000, 0x7FFF_0000


def foreign_entries() -> Guard:
    """The end of every process that calls by another architecture's numbers."""
    return Guard(name="seccomp's kill", plan=_confined(lambda one: replace(one, table=_rewritten(one.table))))


def _rewritten(program: bytes | None) -> bytes:
    """Return a BPF program that allows what it killed for."""
    assert program is not None, "attacks are made on a sandbox"
    kill, allow = (_instruction(_RETURN, operand) for operand in (_RETURN_KILL, _RETURN_ALLOW))
    return b"".join(allow if code == kill else code for code in (program[at : at + 8] for at in range(0, len(program), 8)))


def _instruction(code: int, operand: int) -> bytes:
    return code.to_bytes(2, "little") + b"\0\0" + operand.to_bytes(4, "little")


def no_fork() -> Guard:
    """The second filter, which an attempt's process puts on top of the table."""
    return Guard(
        name="the attempts' filter", plan=_confined(lambda one: replace(one, no_fork=_instruction(_RETURN, _RETURN_ALLOW)))
    )


def _confined(change: Callable[[Confinement], Confinement]) -> Callable[[Plan], Plan]:
    """Change the confinement of every version, whether it declares Network or not."""

    def changed(plan: Plan) -> Plan:
        networked = None if plan.networked is None else change(plan.networked)
        return replace(plan, confinement=change(plan.confinement), networked=networked)

    return changed


# ── Files, namespaces, limits, identity ───────────────────────────────────────────────────────────────────────────────────────


def landlock(since: int = 1) -> Guard:
    """All of landlock, of which the attack meets what is there since this version of its interface."""
    return Guard(
        name="landlock",
        plan=_confined(lambda one: replace(one, landlock=None)),
        missing=lambda facts: "" if facts.landlock_abi >= since else f"landlock {facts.landlock_abi} does not know of this",
    )


def mounts(*paths: str, name: str = "") -> Guard:
    """That these paths of the host are not in the sandbox's file tree. `name` stands for paths that are other ones in each run."""
    shown = [Bind(source=path, target=path) for path in paths]
    return Guard(
        name=f"mounts({name or ', '.join(paths)})",
        profile=lambda profile: replace(profile, mounts=[*profile.mounts, *shown]),
        missing=_no_namespaces,
    )


def namespace(*names: str) -> Guard:
    """Namespaces of the sandbox's own: off, it shares the host's. It has no door then, and what may connect to one connects to the host's."""
    no_door = "\n\ndef _make_door():\n    return ()\n"
    return Guard(
        name=f"namespace({', '.join(names)})",
        guest={"guest/enter.py": no_door} if "net" in names else {},
        profile=lambda profile: replace(profile, namespaces=[name for name in profile.namespaces if name not in names]),
        missing=_no_namespaces,
    )


def _no_namespaces(facts: HostFacts) -> str:
    return "" if assess(facts).profile == "user-namespace" else "this host allows no namespaces"


def limit(number: int, value: int = 1 << 40) -> Guard:
    """A resource limit, by its number in `resource`: off, it is `value`."""

    def change(confinement: Confinement) -> Confinement:
        others = [one for one in confinement.limits if one.resource != number]
        return replace(confinement, limits=[*others, ResourceLimit(resource=number, value=value)])

    return Guard(name=f"limit({number}, {value})", plan=_confined(change))


def privileges(*, by_user: bool = False) -> Guard:
    """That a version zygote gives up its user and its capabilities: off, it stays the root of its namespaces, which is not the host's.

    `by_user`: the attack meets the other user, which a node that is not root itself has not got.
    """
    lines = """
    def drop_privileges(user):
        _prctl("forbid new privileges", _PR_SET_NO_NEW_PRIVS, 1)
    """
    found = guest("privileges", "guest/kernel.py", lines)
    return dataclasses.replace(found, missing=_no_other_user) if by_user else found


def _no_other_user(facts: HostFacts) -> str:
    return "" if facts.user == 0 and facts.maps_nobody else "there is no other user here that the sandbox could become"


# ── The node's own ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def host(path: str, value: Any) -> Guard:
    """A check or figure of the node, by its dotted path: off, it is `value`."""
    return Guard(name=f"host({path})", host={path: value})


def guest(name: str, path: str, lines: str) -> Guard:
    """A guard in the guest's own code: off, `lines` are appended to the module at `path`, below the package."""
    return Guard(name=name, guest={path: f"\n\n{textwrap.dedent(lines)}"})


def settings(**values: Any) -> Guard:
    """Settings of the node, such as `limit_memory`: off, they have these values."""
    return Guard(name=f"settings({', '.join(f'{key}={value}' for key, value in values.items())})", settings=values)


def lowered_limits() -> Guard:
    """That a twist's own limits hold: off, it is held to the operator's alone."""
    return host("ropewalk.sandbox.interface.Limits.lowered_by", lambda limits, _: limits)


def used_process() -> Guard:
    """A fresh process for every execution: off, `look` runs in a process that has run the attack before."""
    lines = """
    import msgspec as _msgspec
    _bound = Invocation._bound

    def _bound_in_a_used_process(self, start):
        begin = _bound(self, start)
        if start.target.method != "look":
            return begin
        (given,), _ = _msgspec.json.decode(start.target.arguments)

        async def both():
            try:
                await self._twist.attack(given)
            except Exception:
                pass
            return await begin()

        return both

    Invocation._bound = _bound_in_a_used_process
    """
    return guest("a fresh process", "guest/invocation.py", lines)
