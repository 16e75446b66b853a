"""Has what the root zygote imported live for ever, so that a fork does not write to it by using it.

Python counts the references to each object in the object itself: whoever looks at a function or a name writes to its page, and a fork has
to copy that first. From 3.12 on some objects are immortal, those that Python makes itself: their counts are left alone (PEP 683,
https://peps.python.org/pep-0683). Here all others that are there are made so too. None of them would ever be freed, since nothing here
ends but by being killed.

An author's objects are not among them: they are freed, finalised and forgotten by weak references as everywhere. Before Python 3.12, and
wherever counts are kept in another way (as in builds without the global lock), this does nothing, and executions are slower.

Before: `root`, which has imported what authors commonly use, and `zygote`, which has collected what is garbage. After: every other process of
the sandbox, a fork of that.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any, Final

_COUNT: Final = ctypes.c_int32
"""Where an object begins: the lower half of its count, below zero for an immortal one."""

_DICT_OF_TYPE: Final = type.__dict__["__dict__"].__get__


def keep_all() -> int:
    """Make every object immortal that exists and is not yet; what is garbage should have been collected. Returns how many those were."""
    if not _has_immortals():
        return 0
    for_ever = bytes(_count_of(None))
    kept = 0
    found: list[Any] = [*gc.get_objects(), *_in_types()]
    while found:
        new: list[Any] = []
        for one in found:
            if _count_of(one).value >= 0:
                ctypes.memmove(id(one), for_ever, len(for_ever))
                new.append(one)
        kept += len(new)
        found = [*gc.get_referents(*new), *_in_codes(new)]
    return kept


def _has_immortals() -> bool:
    new = object()
    return _count_of(None).value < 0 < _count_of(new).value < 4


def _count_of(one: object) -> ctypes.c_int32:
    return _COUNT.from_address(id(one))


def _in_types() -> Iterator[Any]:
    """Give the members of all types: the collector does not know that types which are written in C have any."""
    types: list[type] = [object]
    seen: set[type] = {object}
    for one in types:
        yield from gc.get_referents(_DICT_OF_TYPE(one))
        subclasses: list[type] = type.__subclasses__(one)
        new = [below for below in subclasses if below not in seen]
        types += new
        seen.update(new)


def _in_codes(objects: Iterable[Any]) -> Iterator[Any]:
    """Give what code consists of, of which the collector knows nothing either."""
    for one in objects:
        if type(one) is CodeType:
            yield from (
                one.co_consts,
                one.co_names,
                one.co_filename,
                one.co_name,
                one.co_qualname,
                one.co_linetable,
                one.co_exceptiontable,
            )
