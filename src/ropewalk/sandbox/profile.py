"""What the sandbox is, as one value that can be printed: namespaces, what of the host is seen, landlock, system calls, limits.

`describe_profile` makes the value from facts about the host (`HostFacts`), and `make_plan` turns it into what the kernel is asked for;
neither touches anything. Before: `facts`, which asks the host. After: `launch`, which hands the plan to the process that carries it out.
"""

from __future__ import annotations

import resource
from pathlib import PurePosixPath
from typing import Final, Literal

import msgspec
from msgspec import Struct

from ropewalk.sandbox import landlock, seccomp
from ropewalk.sandbox.facts import HostFacts
from ropewalk.wire.plan import (
    BUNDLES,
    LIBRARY,
    TWIST,
    Bind,
    Confinement,
    Empty,
    IdMap,
    Link,
    MountStep,
    PathRule,
    Plan,
    ResourceLimit,
    Ruleset,
)

NOBODY: Final = 65534
"""The user that version zygotes become where the host may map it."""

_NAMESPACE_BITS: Final = {
    "user": 0x1000_0000,
    "mount": 0x0002_0000,
    "pid": 0x2000_0000,
    "net": 0x4000_0000,
    "ipc": 0x0800_0000,
    "uts": 0x0400_0000,
    "cgroup": 0x0200_0000,
}

_VISIBLE: Final = ("__init__.py", "errors.py", "clock.py", "tools.py", "sdk", "guest", "wire")
"""What of our own package the sandbox sees."""

_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "TZ": "UTC", "MALLOC_ARENA_MAX": "1", "LD_BIND_NOW": "1", "HOME": "/", "PATH": ""}
"""Symbols are bound at the start, once: bound on first use they would be bound by every attempt anew, each in pages of its own."""

_BOOTSTRAP: Final = f"import sys; sys.path[:0] = [{LIBRARY!r}]; from ropewalk.guest.root import main; main()"

_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom")


class Identity(Struct, frozen=True, kw_only=True):
    """Who is who: the maps of the user namespace, and the user that version zygotes become (None: there is only one)."""

    uid_map: list[IdMap]
    gid_map: list[IdMap]
    user: int | None


class PathAccess(Struct, frozen=True, kw_only=True):
    """Landlock: the accesses allowed at and below `path`."""

    path: str
    allow: list[str]


class Landlock(Struct, frozen=True, kw_only=True):
    """Landlock: what is denied but for the rules, and what is kept inside. `abi` 0: this kernel has none."""

    abi: int
    deny: list[str]
    deny_net: list[str]
    scopes: list[str]
    rules: list[PathAccess]


class Profile(Struct, frozen=True, kw_only=True):
    """The whole sandbox. `name` says which of the ways to build one this is.

    `limits` are fixed ones, by the names of the `resource` module; CPU time and memory depend on the version and are set by the host.
    """

    name: Literal["user-namespace"]
    namespaces: list[str]
    identity: Identity
    mounts: list[MountStep]
    landlock: Landlock
    seccomp: seccomp.Table
    limits: dict[str, int]
    hostname: str = "ropewalk"


_LIMITS: Final = {
    "RLIMIT_NOFILE": 256,
    "RLIMIT_FSIZE": 0,
    "RLIMIT_CORE": 0,
    "RLIMIT_MEMLOCK": 0,
    "RLIMIT_MSGQUEUE": 0,
    "RLIMIT_STACK": 8 * 1024 * 1024,
    # Wide: it stops mappings that cost page tables but no pages. RLIMIT_DATA and the host's watch bound memory.
    "RLIMIT_AS": 4 * 1024 * 1024 * 1024,
}


def describe_profile(facts: HostFacts, bundles: str) -> Profile:
    """Return the sandbox for this host, its bundles below the host's folder `bundles`."""
    mounts = _mounts(facts, bundles)
    return Profile(
        name="user-namespace",
        namespaces=[name for name in _NAMESPACE_BITS if name in facts.namespaces],
        identity=_identity(facts),
        mounts=mounts,
        landlock=_landlock(facts.landlock_abi, mounts),
        seccomp=seccomp.attempts_table(),
        limits=_LIMITS,
    )


def _identity(facts: HostFacts) -> Identity:
    """Map root and nobody when root may, so that version zygotes are nobody; else the one user there is, as the sandbox's root."""
    if facts.user == 0 and facts.maps_nobody:
        both = [IdMap(inside=number, outside=number) for number in (0, NOBODY)]
        return Identity(uid_map=both, gid_map=both, user=NOBODY)
    uid_map, gid_map = [IdMap(inside=0, outside=facts.user)], [IdMap(inside=0, outside=facts.group)]
    return Identity(uid_map=uid_map, gid_map=gid_map, user=None)


# ── What of the host is seen ───────────────────────────────────────────────────────────────────────────────────────────────────


def _mounts(facts: HostFacts, bundles: str) -> list[MountStep]:
    steps: list[MountStep] = [
        Link(target=path, to=facts.links[path]) if path in facts.links else Bind(source=path, target=path)
        for path in facts.libraries
    ]
    for source, target in facts.interpreter:
        _add(steps, source, target)
    steps += [Empty(target=path) for path in facts.site_packages]
    steps += [Bind(source=path, target=path, device=True) for path in _DEVICES]
    for source, target in facts.data:
        _add(steps, source, target)
    steps += _library(facts)
    steps += [Bind(source=bundles, target=BUNDLES), Empty(target=TWIST)]
    return steps


def _library(facts: HostFacts) -> list[MountStep]:
    package = [name for name in _VISIBLE if name in facts.package_files]
    ours = [Bind(source=f"{facts.package}/{name}", target=f"{LIBRARY}/ropewalk/{name}") for name in package]
    return [*ours, Bind(source=facts.msgspec, target=f"{LIBRARY}/msgspec")]


def _add(steps: list[MountStep], source: str, target: str) -> None:
    """Bind `source` unless a folder above shows it already."""
    path = PurePosixPath(target)
    for step in steps:
        if isinstance(step, Bind) and path.is_relative_to(step.target):
            return
        if isinstance(step, Link) and path.is_relative_to(step.target):
            return
    steps.append(Bind(source=source, target=target))


# ── Landlock ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _landlock(abi: int, mounts: list[MountStep]) -> Landlock:
    seen = [step.target for step in mounts if isinstance(step, Bind) and step.target != BUNDLES]
    return Landlock(
        abi=abi,
        deny=landlock.file_accesses(abi),
        deny_net=landlock.net_accesses(abi),
        scopes=landlock.scopes(abi),
        rules=[PathAccess(path=path, allow=["read_file", "read_dir"]) for path in [*seen, TWIST]],
    )


# ── For the kernel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_plan(profile: Profile, facts: HostFacts) -> Plan:
    """Return the profile as what is asked of the kernel, to be run with the interpreter of `facts`."""
    identity = profile.identity
    return Plan(
        namespaces=sum(_NAMESPACE_BITS[name] for name in profile.namespaces),
        uid_map=identity.uid_map,
        gid_map=identity.gid_map,
        set_groups=identity.user is not None,
        hostname=profile.hostname,
        mounts=profile.mounts,
        program=[facts.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP],
        environment=_ENVIRONMENT,
        confinement=Confinement(
            user=identity.user,
            landlock=_ruleset(profile.landlock),
            table=seccomp.compile_table(profile.seccomp),
            no_fork=seccomp.compile_no_fork(),
            limits=[ResourceLimit(resource=getattr(resource, name), value=value) for name, value in profile.limits.items()],
        ),
    )


def _ruleset(rules: Landlock) -> Ruleset | None:
    if rules.abi == 0:
        return None
    return Ruleset(
        handled_fs=landlock.bits(rules.deny, landlock.FILE_ACCESSES),
        handled_net=landlock.bits(rules.deny_net, landlock.NET_ACCESSES),
        scoped=landlock.bits(rules.scopes, landlock.SCOPES),
        rules=[PathRule(path=rule.path, access=landlock.bits(rule.allow, landlock.FILE_ACCESSES)) for rule in rules.rules],
    )


def printable(profile: Profile) -> dict[str, object]:
    """Return the profile as plain values, for people and for JSON; `seccomp` has a verdict for every number."""
    plain: dict[str, object] = msgspec.to_builtins(profile)
    return plain
