"""What the host tells the processes that build the sandbox: a plan to be carried out, with nothing left to decide.

The host's `sandbox.profile` says what the sandbox is, in words; this is the same, made ready for the kernel. It crosses once, as JSON on
the standard input of the process that enters the sandbox, before any author's code is near.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

CONTROL_FD: Final = 3
"""The descriptor of a zygote's control socket, and of an attempt's connection."""

QUEUE_FD: Final = 4
"""The descriptor of the socket by which the host gives the processes that a version zygote forks their connections."""

SELF_FD: Final = 4
"""The descriptor of the root zygote's own folder in the host's /proc, until it has read there what memory it has."""

BUNDLES: Final = "/bundles"
"""Where the root zygote sees every bundle, by its name."""

TWIST: Final = "/twist"
"""Where a version zygote sees its own bundle, and nothing of the others."""

PACKAGES: Final = ".packages"
"""The folder of a bundle with the packages that its version depends on."""

LIBRARY: Final = "/ropewalk"
"""Where the sandbox sees the SDK and msgspec."""

DOOR_PORT: Final = 3128
"""The port of the sandbox's own loopback at which ordinary HTTP clients reach the host: below those that the kernel gives out by itself."""

DOOR_AUTHORITY: Final = f"{LIBRARY}/authority.pem"
"""Where the sandbox sees the certificate of the authority that ends TLS at the door."""

BUNDLE: Final = "{bundle}"
"""Stands for the name of a version zygote's own bundle in the paths of a `Confinement`."""


class Bind(Struct, frozen=True, kw_only=True, tag="bind"):
    """Show the host's `source`, a file or a folder with all below it, at `target`: read-only, and no set-uid.

    `device` leaves a device node usable.
    """

    source: str
    target: str
    device: bool = False


class Empty(Struct, frozen=True, kw_only=True, tag="empty"):
    """An empty folder that nobody can write at `target`, over whatever is there."""

    target: str


class Link(Struct, frozen=True, kw_only=True, tag="link"):
    """A symbolic link at `target` that says `to`."""

    target: str
    to: str


class Text(Struct, frozen=True, kw_only=True, tag="text"):
    """A file at `target` that holds `text`."""

    target: str
    text: str


MountStep = Bind | Empty | Link | Text


class IdMap(Struct, frozen=True, kw_only=True):
    """One line of a user namespace's map: `inside` is what the sandbox calls the host's `outside`."""

    inside: int
    outside: int


class PathRule(Struct, frozen=True, kw_only=True):
    """Landlock: what is allowed at and below `path`, as the kernel's bits."""

    path: str
    access: int


class Ruleset(Struct, frozen=True, kw_only=True):
    """Landlock: what is denied unless a rule allows it, as the kernel's bits, as far as this kernel knows them.

    `connect` are the TCP ports that may be connected to, whatever the address.
    """

    handled_fs: int
    handled_net: int
    scoped: int
    rules: list[PathRule]
    connect: list[int]


class ResourceLimit(Struct, frozen=True, kw_only=True):
    """A resource limit, soft and hard alike: `resource` is the kernel's number."""

    resource: int
    value: int


class Confinement(Struct, frozen=True, kw_only=True):
    """What a version zygote does to itself before it imports: the user it becomes, and the kernel's rules for it and all its children.

    `namespaces` is whether it lives in some: then it makes one more, whose `twist` shows its bundle and in which no other bundle is; else
    `twist` is where the bundle lies on the host. `user` None: there is no other user to become. `table` and `no_fork` are BPF programs: the
    first for the zygote and its processes, the second for the processes on top of it. `door` is whether the door (`DOOR_PORT`) can be
    connected to.
    """

    namespaces: bool
    twist: str
    user: int | None
    landlock: Ruleset | None
    table: bytes | None
    no_fork: bytes | None
    limits: list[ResourceLimit]
    door: bool


class Plan(Struct, frozen=True, kw_only=True):
    """How to enter the sandbox and what to run there.

    `namespaces` are the kernel's CLONE_NEW bits; with 0 there are no maps and no mounts either. `set_groups` is whether the maps are
    written with real privileges. `networked` is the confinement of versions that declare Network, None when they get the same as others:
    then there is no door.
    """

    namespaces: int
    uid_map: list[IdMap]
    gid_map: list[IdMap]
    set_groups: bool
    hostname: str
    mounts: list[MountStep]
    program: list[str]
    environment: dict[str, str]
    confinement: Confinement
    networked: Confinement | None


def encode_plan(plan: Plan) -> bytes:
    """Return the plan as JSON."""
    return msgspec.json.encode(plan)


def decode_plan(text: bytes) -> Plan:
    """Return the plan that `encode_plan` wrote."""
    return msgspec.json.decode(text, type=Plan)
