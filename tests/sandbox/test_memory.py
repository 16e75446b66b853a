"""How much memory a host has to spare, from what its files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ropewalk.sandbox.memory import free_memory, memory_for_guests

MIB = 1024 * 1024
NO_LIMIT = "9223372036854771712"


def host(tmp_path: Path, groups: str, **files: str) -> str:
    """Write a host with 1,000 MiB available; `files` are below /sys/fs/cgroup, `__` for a slash and `_dot_` for a dot."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {1000 * 1024} kB\n")
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("", {}, 1000),
        ("0::/a/b\n", {"a__b__memory_dot_max": "max\n"}, 1000),
        (
            "0::/a/b\n",
            {
                "a__memory_dot_max": str(300 * MIB),
                "a__memory_dot_current": str(150 * MIB),
                "a__memory_dot_stat": f"anon 1\ninactive_file {50 * MIB}\n",
                "a__b__memory_dot_max": "max\n",
            },
            200,
        ),
        (
            "4:memory:/a\n0::/\n",
            {
                "memory__a__memory_dot_limit_in_bytes": str(500 * MIB),
                "memory__a__memory_dot_usage_in_bytes": str(100 * MIB),
                "memory__a__memory_dot_stat": "total_inactive_file 0\n",
                "memory__memory_dot_limit_in_bytes": NO_LIMIT,
            },
            400,
        ),
        (
            "4:memory:/of/the/host\n",
            {
                "memory__memory_dot_limit_in_bytes": str(100 * MIB),
                "memory__memory_dot_usage_in_bytes": str(200 * MIB),
                "memory__memory_dot_stat": "",
            },
            0,
        ),
    ],
    ids=["no group", "no limit", "version 2", "version 1", "a container's"],
)
def test_the_least_of_machine_and_groups_is_free(tmp_path: Path, groups: str, files: dict[str, str], free: int) -> None:
    assert free_memory(host(tmp_path, groups, **files)) == free * MIB


def test_guests_get_three_quarters(tmp_path: Path) -> None:
    assert memory_for_guests(host(tmp_path, "")) == 750 * MIB


def test_this_host_has_some() -> None:
    assert memory_for_guests() > 0
