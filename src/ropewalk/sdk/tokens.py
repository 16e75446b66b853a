"""The two kinds of token that authors hold: text that they may store, send and bind like any other."""

from __future__ import annotations

from typing import Final

CALLBACK_PREFIX: Final = "cb_"
"""What every callback's token begins with, so that one can be told from a method's name."""


class Callback(str):
    """A durable reference to a method with its bound arguments. It may be stored, bound and given to another tool."""

    __slots__ = ()


class TaskToken(str):
    """Names a pending task, for `cancel_task`."""

    __slots__ = ()
