"""What the sandbox has to know of this host, asked once: who runs the node, what the kernel offers, where Python lives.

The only module of the room that looks around; what follows from the answers is decided in `profile` and `assessment`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import ssl
import subprocess
import sys
import sysconfig
import zoneinfo
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

import ropewalk
from ropewalk.sandbox import owners
from ropewalk.sandbox.cgroups import delegated_group

_SYS_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
_NAMESPACES: Final = {"user": "user", "mount": "mnt", "pid": "pid", "net": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
_LIBRARIES: Final = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")


class HostFacts(Struct, frozen=True, kw_only=True):
    """The host as it is.

    `cgroup` is the control group (v2) that was delegated to the node, None without one. `user_namespaces` is whether they can be made and
    mounted in. `libraries` are the folders of the C library and its kin, of which `links`
    are symbolic links and where to. `interpreter` and `data` are pairs of where a thing is and where the sandbox must show it.
    `site_packages` are folders to be hidden, and `beside` says what else, links aside, is in each folder on the way to one.
    `finds_owners` is whether the kernel tells whose a TCP connection is.
    `package` is our own package's folder and `package_files` what is in it.
    """

    machine: str
    kernel: str
    user: int
    group: int
    maps_nobody: bool
    namespaces: list[str]
    user_namespaces: bool
    landlock_abi: int
    seccomp: bool
    finds_owners: bool = False
    cgroup: str | None = None
    executable: str
    libraries: list[str]
    links: dict[str, str]
    interpreter: list[tuple[str, str]]
    site_packages: list[str]
    beside: dict[str, list[str]]
    data: list[tuple[str, str]]
    package: str
    package_files: list[str]
    msgspec: str


def gather_facts() -> HostFacts:
    """Look at this host."""
    libraries = [path for path in _LIBRARIES if os.path.isdir(path)]
    package = str(Path(next(iter(ropewalk.__path__))).resolve())
    stdlib = _stdlib()
    interpreter = [(os.path.realpath(path), path) for path in [_executable(), *stdlib, *_libpython()]]
    site_packages = _site_packages(stdlib)
    return HostFacts(
        machine=platform.machine(),
        kernel=platform.release(),
        user=os.geteuid(),
        group=os.getegid(),
        maps_nobody=_maps(65534),
        namespaces=[name for name, file in _NAMESPACES.items() if os.path.exists(f"/proc/self/ns/{file}")],
        user_namespaces=_allows_user_namespaces(),
        landlock_abi=_landlock_abi(),
        seccomp=_has_seccomp(),
        finds_owners=owners.can_be_found(),
        cgroup=delegated_group(),
        executable=_executable(),
        libraries=libraries,
        links={path: os.readlink(path) for path in libraries if os.path.islink(path)},
        interpreter=interpreter,
        site_packages=site_packages,
        beside=_beside(site_packages, [*libraries, *(source for source, _ in interpreter)]),
        data=[(os.path.realpath(path), path) for path in _data()],
        package=package,
        package_files=sorted(os.listdir(package)),
        msgspec=str(Path(msgspec.__file__).resolve().parent),
    )


# ── The kernel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _maps(number: int) -> bool:
    """Whether a user of this number exists in the namespace that the node runs in, and groups likewise."""
    return all(_is_mapped(Path(f"/proc/self/{kind}_map").read_text(encoding="ascii"), number) for kind in ("uid", "gid"))


def _is_mapped(text: str, number: int) -> bool:
    lines = (tuple(map(int, line.split())) for line in text.splitlines())
    return any(first <= number < first + count for first, _, count in lines)


def _allows_user_namespaces() -> bool:
    """Try it, in a process that is thrown away: no setting tells the whole truth. AppArmor lets them be made, and then no use be made of them."""
    attempt = (
        "import ctypes, sys; libc = ctypes.CDLL(None); unshared = libc.unshare(0x10000000 | 0x00020000) == 0; "
        "sys.exit(not unshared or libc.mount(None, b'/', None, ctypes.c_ulong(0x4000 | 0x40000), None) != 0)"
    )
    return subprocess.run([_executable(), "-I", "-S", "-c", attempt], check=False, env={}).returncode == 0


def _landlock_abi() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)))


def _has_seccomp() -> bool:
    """Whether filters can be installed: the kernel says EFAULT to a missing program, EINVAL when it knows no filters."""
    libc = ctypes.CDLL(None, use_errno=True)
    pr_set_seccomp, seccomp_mode_filter = 22, 2
    return int(libc.prctl(pr_set_seccomp, seccomp_mode_filter, None, 0, 0)) < 0 and ctypes.get_errno() == errno.EFAULT


# ── Python ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _executable() -> str:
    """Return the interpreter itself, not a virtual environment's link to it."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    beside = Path(sys.base_exec_prefix, "bin", name)
    return os.path.realpath(beside if beside.exists() else sys.executable)


def _stdlib() -> list[str]:
    base = {"base": sys.base_prefix, "installed_base": sys.base_prefix}
    platform_base = {"platbase": sys.base_exec_prefix, "installed_platbase": sys.base_exec_prefix}
    found = [sysconfig.get_path(name, vars=base | platform_base) for name in ("stdlib", "platstdlib")]
    return list(dict.fromkeys(path for path in found if os.path.isdir(path)))


def _libpython() -> list[str]:
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return []
    path = os.path.join(str(sysconfig.get_config_var("LIBDIR")), str(sysconfig.get_config_var("INSTSONAME")))
    return [path] if os.path.isfile(path) else []


def _site_packages(stdlib: list[str]) -> list[str]:
    """Return the folders of installed packages that lie where the sandbox sees the standard library."""
    below = [os.path.join(path, name) for path in stdlib for name in ("site-packages", "dist-packages")]
    return [path for path in [*below, "/usr/lib/python3/dist-packages"] if os.path.isdir(path)]


def _beside(hidden: list[str], shown: list[str]) -> dict[str, list[str]]:
    """List each folder that leads from one of `shown` to one of `hidden`, without that and symbolic links, which may lead anywhere."""
    ends = [Path(os.path.realpath(path)) for path in hidden]
    way = {folder for end in ends for folder in end.parents if any(folder.is_relative_to(top) for top in shown)}
    return {str(folder): sorted(_others(folder, ends)) for folder in sorted(way)}


def _others(folder: Path, hidden: list[Path]) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if not entry.is_symlink() and folder / entry.name not in hidden]


def _data() -> list[str]:
    """Return what the standard library reads: zones, certificates, the cache of the dynamic linker."""
    certificates: str | None = ssl.get_default_verify_paths().cafile
    wanted = ["/etc/ld.so.cache", *([certificates] if certificates else []), *zoneinfo.TZPATH]
    return [path for path in wanted if os.path.exists(path)]
