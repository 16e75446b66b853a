"""What the sandbox is, as one value that can be printed: namespaces, what of the host is seen, landlock, system calls, limits.

`describe_profile` makes the value from facts about the host (`HostFacts`), and `make_plan` turns it into what the kernel is asked for;
neither touches anything. There are three profiles: with namespaces of the sandbox's own; with landlock and seccomp in their place, where
the host allows none; and one that isolates nothing, for those who asked for it.

Before: `facts`, which asks the host, and `assessment`, which names the profile. After: `launch`, which hands the plan to the process that
carries it out.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.sandbox import landlock, seccomp
from ropewalk.sandbox.assessment import ProfileName, has_door
from ropewalk.sandbox.cgroups import ControlGroup, describe_group
from ropewalk.sandbox.facts import HostFacts
from ropewalk.wire.plan import (
    BUNDLE,
    BUNDLES,
    DOOR_AUTHORITY,
    DOOR_PORT,
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
    Text,
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

_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/",
    "PATH": "",
    "MALLOC_ARENA_MAX": "1",
    # Symbols are bound at the start, once: bound on first use they would be bound by every attempt anew, each in pages of its own.
    "LD_BIND_NOW": "1",
    # Numeric libraries start a thread for each CPU when they are imported. A fork has none of them, and waits for them for ever.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

_FLAGS: Final = ("-P", "-s", "-S", "-B", "-X", "utf8")
"""Isolated (`-I`) but for the environment, which is ours and says one thing to Python: `HASH_SEED`."""

HASH_SEED: Final = "PYTHONHASHSEED"
"""What sets have their order from: what runs with the same one, as a replay does, goes through them in the same order."""

_BOOTSTRAP: Final = f"import sys; sys.path[:0] = [{LIBRARY!r}]; from ropewalk.guest.root import main; main()"

_BOOTSTRAP_ON_HOST: Final = """
import sys
sys.path += [{package!r}, {msgspec!r}]
import msgspec
from ropewalk.guest.root import main
del sys.path[-2:]
main()
"""
"""Where the host's own folders are seen, others lie beside ours: they are looked into once, and not again."""

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
    """Landlock: what is denied but for the rules, and what is kept inside. `abi` 0: there is none.

    `connect` are the ports that versions which declare Network may connect to.
    """

    abi: int
    deny: list[str]
    deny_net: list[str]
    scopes: list[str]
    rules: list[PathAccess]
    connect: list[int]


class Profile(Struct, frozen=True, kw_only=True):
    """The whole sandbox. `name` says which of the ways to build one this is.

    `twist` is where a version's own bundle is seen, `{bundle}` in it standing for its name. `seccomp` is the table of version zygotes; an
    attempt's is `seccomp.without_fork` of it. `networked` is the table of versions that declare Network, None where there is no door for them.
    `limits` are fixed ones, by the names of the `resource` module; CPU time and memory depend on
    the version and are set by the host. `cgroup` is the backstop around all guests, None where the host has delegated no group.
    """

    name: ProfileName
    namespaces: list[str]
    identity: Identity
    mounts: list[MountStep]
    twist: str
    landlock: Landlock
    networked: seccomp.Table | None
    seccomp: seccomp.Table | None
    limits: dict[str, int]
    cgroup: ControlGroup | None = None
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


_LIMITS_INSIDE: Final = {"RLIMIT_NPROC": 4096}
"""Processes and threads of all guests together. Outside of a user namespace the kernel would count the user's others as well."""


def describe_profile(
    facts: HostFacts, bundles: str, name: ProfileName = "user-namespace", memory: int | None = None, authority: str = ""
) -> Profile:
    """Return the sandbox of this name for this host, its bundles below the host's folder `bundles`.

    `memory` is how many bytes all that runs in it may take together, None when it is not bounded. `authority` is the certificate that
    clients are to trust at the door, as PEM.
    """
    cgroup = None if facts.cgroup is None or memory is None else describe_group(facts.cgroup, memory)
    if name == "user-namespace":
        door = has_door(facts)
        mounts = [*_mounts(facts, bundles), *([Text(target=DOOR_AUTHORITY, text=authority)] if door else [])]
        return Profile(
            name=name,
            namespaces=[one for one in _NAMESPACE_BITS if one in facts.namespaces],
            identity=_identity(facts),
            mounts=mounts,
            twist=TWIST,
            landlock=_landlock(facts.landlock_abi, _seen_inside(mounts), [DOOR_PORT] if door else []),
            seccomp=seccomp.zygotes_table(),
            networked=seccomp.zygotes_table(network=True) if door else None,
            limits=_LIMITS | _LIMITS_INSIDE,
            cgroup=cgroup,
        )
    twist = f"{bundles}/{BUNDLE}"
    isolates = name == "landlock"
    return Profile(
        name=name,
        namespaces=[],
        identity=Identity(uid_map=[], gid_map=[], user=None),
        mounts=[],
        twist=twist,
        landlock=_landlock(facts.landlock_abi if isolates else 0, _seen_on_host(facts, twist), []),
        seccomp=seccomp.zygotes_table() if isolates else None,
        networked=None,
        limits=_LIMITS,
        cgroup=cgroup,
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
    ours = [Bind(source=f"{facts.package}/{name}", target=f"{LIBRARY}/ropewalk/{name}") for name in _package(facts)]
    return [*ours, Bind(source=facts.msgspec, target=f"{LIBRARY}/msgspec")]


def _package(facts: HostFacts) -> list[str]:
    return [name for name in _VISIBLE if name in facts.package_files]


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


def _landlock(abi: int, rules: list[PathAccess], connect: list[int]) -> Landlock:
    return Landlock(
        abi=abi,
        deny=landlock.file_accesses(abi),
        deny_net=landlock.net_accesses(abi),
        scopes=landlock.scopes(abi),
        rules=rules if abi else [],
        connect=connect,
    )


def _readable(paths: Iterable[str]) -> list[PathAccess]:
    return [PathAccess(path=path, allow=["read_file", "read_dir"]) for path in paths]


def _seen_inside(mounts: list[MountStep]) -> list[PathAccess]:
    return _readable([*(step.target for step in mounts if isinstance(step, Bind | Text) and step.target != BUNDLES), TWIST])


def _seen_on_host(facts: HostFacts, twist: str) -> list[PathAccess]:
    """Return what is read where nothing can be mounted: the same as inside, by the names that it has on the host.

    A rule allows all that is below its path, so the folders that lead to installed packages are replaced by what else is in them. Of the
    folders that modules are found in all names may be read: Python looks for them there.
    """
    libraries = [path for path in facts.libraries if path not in facts.links]
    sources = [source for source, _ in (*facts.interpreter, *facts.data)]
    ours = [f"{facts.package}/{name}" for name in _package(facts)]
    shown = [path for top in [*libraries, *sources] for path in _without_packages(top, facts.beside)]
    listed = [facts.package, *(source for source in sources if source in facts.beside)]
    names = [PathAccess(path=path, allow=["read_dir"]) for path in listed]
    return [*_readable(dict.fromkeys([*shown, *_DEVICES, *ours, facts.msgspec, twist])), *names]


def _without_packages(path: str, beside: dict[str, list[str]]) -> Iterator[str]:
    if path not in beside:
        yield path
        return
    for name in beside[path]:
        yield from _without_packages(f"{path}/{name}", beside)


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
        program=[facts.executable, *_FLAGS, "-c", _bootstrap(profile, facts)],
        environment=_ENVIRONMENT,
        confinement=_confinement(profile, profile.seccomp, []),
        networked=None if profile.networked is None else _confinement(profile, profile.networked, profile.landlock.connect),
    )


def _confinement(profile: Profile, table: seccomp.Table | None, connect: list[int]) -> Confinement:
    return Confinement(
        namespaces=bool(profile.namespaces),
        twist=profile.twist,
        user=profile.identity.user,
        landlock=_ruleset(profile.landlock, connect),
        table=None if table is None else seccomp.compile_table(table),
        no_fork=None if table is None else seccomp.compile_no_fork(),
        limits=[ResourceLimit(resource=getattr(resource, name), value=value) for name, value in profile.limits.items()],
        door=bool(connect),
    )


def _bootstrap(profile: Profile, facts: HostFacts) -> str:
    if profile.namespaces:
        return _BOOTSTRAP
    folders = [str(PurePosixPath(path).parent) for path in (facts.package, facts.msgspec)]
    return _BOOTSTRAP_ON_HOST.format(package=folders[0], msgspec=folders[1])


def _ruleset(rules: Landlock, connect: list[int]) -> Ruleset | None:
    if rules.abi == 0:
        return None
    return Ruleset(
        handled_fs=landlock.bits(rules.deny, landlock.FILE_ACCESSES),
        handled_net=landlock.bits(rules.deny_net, landlock.NET_ACCESSES),
        scoped=landlock.bits(rules.scopes, landlock.SCOPES),
        rules=[PathRule(path=rule.path, access=landlock.bits(rule.allow, landlock.FILE_ACCESSES)) for rule in rules.rules],
        connect=connect,
    )


def printable(profile: Profile) -> dict[str, object]:
    """Return the profile as plain values, for people and for JSON.

    `seccomp` has an attempt's verdict for every number from 0 to the highest known (`seccomp.PrintedTable` says in which words), the rules by
    arguments are beside it in `seccomp_rules`, and `seccomp_zygote` has what a version's zygote may besides; null without a filter.
    `seccomp_network` has the verdicts and rules that are others for versions which declare Network, null where there is no door.
    """
    plain: dict[str, object] = msgspec.to_builtins(profile)
    del plain["networked"]
    if profile.seccomp is None:
        return plain
    zygote, attempt = (seccomp.printed(table) for table in (profile.seccomp, seccomp.without_fork(profile.seccomp)))
    more = {number: rules for number, rules in zygote.rules.items() if rules != attempt.rules.get(number)}
    networked = None if profile.networked is None else seccomp.printed(seccomp.without_fork(profile.networked))
    door = None if networked is None else _differences(networked, attempt)
    seen: dict[str, object] = {
        "seccomp": attempt.verdicts,
        "seccomp_rules": attempt.rules,
        "seccomp_zygote": more,
        "seccomp_network": door,
        "seccomp_names": attempt.names,
        "seccomp_beyond": attempt.beyond,
        "seccomp_x32": attempt.x32,
        "seccomp_foreign": attempt.foreign,
    }
    return plain | {name: msgspec.to_builtins(value) for name, value in seen.items()}


def _differences(table: seccomp.PrintedTable, other: seccomp.PrintedTable) -> dict[str, object]:
    """Return the verdicts and rules of `table`, by number, that are not those of `other`."""
    return {
        number: table.rules.get(number, verdict)
        for number, verdict in table.verdicts.items()
        if (verdict, table.rules.get(number)) != (other.verdicts[number], other.rules.get(number))
    }
