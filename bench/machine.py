"""What the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import apsw

from bench.floor import Floor


def machine(floor: Floor) -> dict[str, object]:
    """Return what there is to know of this machine."""
    return {
        "cpu": _value("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_kb": int(_value("/proc/meminfo", "MemTotal").split()[0]),
        "kernel": platform.release(),
        "filesystem": _filesystem(Path(__file__)),
        "load_before": os.getloadavg()[0],
        "floor_image_kb": floor.resident_kb(),
        "floor_p50_ms": floor.milliseconds(200),
        "floor_per_second_8_in_flight": floor.per_second(800, 8),
    }


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    names = {name: version(name) for name in ("ropewalk", "msgspec", "apsw")}
    return {"python": sys.version.split()[0], "sqlite": apsw.sqlite_lib_version(), **names}


_OURS = 1.0
"""What the bench itself adds to the load of each core, at most."""


def is_busy() -> bool:
    """Whether more was run in the last minutes than the bench itself runs."""
    return os.getloadavg()[1] > _OURS * len(os.sched_getaffinity(0)) + 1


def peak_kb() -> int:
    """Return the most memory that this process has had resident."""
    return int(_value("/proc/self/status", "VmHWM").split()[0])


def _value(path: str, name: str) -> str:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _filesystem(path: Path) -> str:
    """Return the type of the filesystem that holds `path`: its longest mount point's."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    holding = [mount for mount in mounts if path.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]))[2]
