"""Landlock, as data: which accesses there are, by name, since which version of the kernel's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_FILE_ACCESSES: Final[str] = """
execute write_file read_file read_dir remove_dir remove_file make_char make_dir make_reg make_sock make_fifo make_block make_sym refer
truncate ioctl_dev
"""

FILE_ACCESSES: Final[Sequence[str]] = _FILE_ACCESSES.split()
"""Accesses to files, by bit."""

NET_ACCESSES: Final[Sequence[str]] = ["bind_tcp", "connect_tcp"]
"""Accesses to the network, by bit."""

SCOPES: Final[Sequence[str]] = ["abstract_unix_socket", "signal"]
"""What is kept inside, by bit: no connection to an abstract socket, and no signal to a process, that is outside."""

_FILE_ACCESSES_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NET_SINCE: Final = 4
_SCOPES_SINCE: Final = 6


def file_accesses(abi: int) -> list[str]:
    """Return the file accesses that an interface of this version can deny; none for 0, which is no landlock."""
    return list(FILE_ACCESSES[: _FILE_ACCESSES_BY_ABI[min(abi, 5)]]) if abi > 0 else []


def net_accesses(abi: int) -> list[str]:
    """Return the network accesses that an interface of this version can deny."""
    return list(NET_ACCESSES) if abi >= _NET_SINCE else []


def scopes(abi: int) -> list[str]:
    """Return the scopes that an interface of this version knows."""
    return list(SCOPES) if abi >= _SCOPES_SINCE else []


def bits(names: Sequence[str], among: Sequence[str]) -> int:
    """Return the names as the kernel's bits."""
    return sum(1 << among.index(name) for name in names)
