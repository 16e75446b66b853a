"""`renamed_from`: the names that a method had in older versions, by which what is live still finds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

MethodT = TypeVar("MethodT", bound=Callable[..., Awaitable[Any]])

_FORMER: Final = "__ropewalk_renamed_from__"


def renamed_from(*names: str) -> Callable[[MethodT], MethodT]:
    """Have a method answer to names that it had before: callbacks, tasks, webhooks and schedules of older versions go on to run it.

    Args:
        *names: every former name that something live may still use; a method renamed twice lists both.

    Raises:
        TypeError, ValueError: one of them is no method's name.
    """
    if not names:
        raise TypeError('renamed_from() takes the names that the method had: @renamed_from("sync_page")')
    for name in names:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # the author's, whom no type checker may have told
            raise TypeError(f'renamed_from() takes names, not {name!r:.80}: @renamed_from("sync_page")')
        if not name.isidentifier():
            raise ValueError(f"renamed_from({name!r:.80}): that is no method's name")

    def decorate(method: MethodT) -> MethodT:
        setattr(method, _FORMER, (*former_names(method), *names))
        return method

    return decorate


def former_names(method: object) -> tuple[str, ...]:
    """Return the names that a method had before, in no order that means anything."""
    found: tuple[str, ...] = getattr(method, _FORMER, ())
    return found
