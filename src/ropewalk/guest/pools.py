"""Has Python begin new pools for what it makes next, so that a fork's first objects lie side by side.

Python keeps its small objects in pools, each of blocks of one size (Objects/obmalloc.c). After an import the free blocks are holes in pools all over
the heap, and a fork has to copy two pages for nearly every size, that of the hole and that of the pool's header. So the holes are filled:
the next block of each size is then the first of a new pool, on the page that its header is on.

Before: `zygote`, which has imported the author's module. After: the attempts that it forks.
"""

from __future__ import annotations

import sys
from typing import Final

_POOL: Final = 16 * 1024
_HEADER: Final = 48
_SIZES: Final = range(48, 512 + 1, 16)
_BYTES: Final = sys.getsizeof(b"")
_MOST: Final = 16
"""Pools of a size that are filled at the most: where Python keeps its objects in another way, this ends too."""


_kept: Final[list[bytes]] = []


def begin_new_ones() -> int:
    """Fill what is free in pools that are in use, for as long as this process and its forks live. Returns how many blocks that took."""
    for size in _SIZES:
        for _ in range(_MOST * _POOL // size):
            block = bytes(bytearray(size - _BYTES))  # not of a constant: of some there is only one
            _kept.append(block)
            if id(block) % _POOL == _HEADER:
                break
    return len(_kept)
