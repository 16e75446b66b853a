"""What the owner of an instance is told of executions that failed for good: one note a day, which counts. Pure.

The first such execution makes an activity with a note; those of the following day are counted in both, by method and kind of error. So
the thousandth says no more than a number, and nobody has to look at a thousand notes. The backend writes it with what it tells of.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.records import ErrorInfo

WINDOW: Final[Micros] = 86_400_000_000
"""How long one note goes on counting."""

_KEPT: Final = 32
_SHOWN: Final = 8
_MESSAGE: Final = 200


class Death(Struct, frozen=True, kw_only=True):
    """Executions of one method that failed for good by one kind of error: how many, and the newest's id and message."""

    method: str
    error: str
    count: int
    execution: str
    message: str


class Deaths(Struct, frozen=True, kw_only=True):
    """What one note counts: its ids, since when, how many in all, and the kinds that came last, the newest first."""

    activity: str
    note: str
    since: Micros
    count: int = 0
    kinds: tuple[Death, ...] = ()


read_deaths = msgspec.json.Decoder(Deaths).decode
write_deaths = msgspec.json.Encoder().encode


def counted(deaths: Deaths, method: str, execution: str, error: ErrorInfo) -> Deaths:
    """Return what the note counts once one more has failed."""
    same = [one for one in deaths.kinds if (one.method, one.error) == (method, error.type)]
    others = [one for one in deaths.kinds if (one.method, one.error) != (method, error.type)]
    newest = Death(
        method=method,
        error=error.type,
        count=sum(one.count for one in same) + 1,
        execution=execution,
        message=_one_line(error.message),
    )
    return replace(deaths, count=deaths.count + 1, kinds=(newest, *others)[:_KEPT])


def title(deaths: Deaths, twist: str) -> str:
    """Return the activity's title."""
    return f"{twist}: {deaths.count:,} {'execution has' if deaths.count == 1 else 'executions have'} failed for good"


def text(deaths: Deaths, instance: str) -> str:
    """Return the note's text, in Markdown."""
    shown = deaths.kinds[:_SHOWN]
    lines = "\n".join(map(_line, shown))
    left = deaths.count - sum(one.count for one in shown)
    return (
        f"Of instance `{instance}`, what follows was tried as often as it may be, or gave up, or could never work. It is kept, and nothing "
        f"of it since its last `commit()` has happened.\n\n{lines}\n" + (f"- and {left:,} more\n" if left else "") + "\n"
        "`ropewalk execution ID` shows all about one, `ropewalk retry ID` runs it again, and "
        f"`ropewalk retry --instance {instance} --status dead` all that are dead. Until tomorrow this note goes on counting."
    )


def _line(one: Death) -> str:
    often = "" if one.count == 1 else f" {one.count:,} times, lastly"
    return f"- `{one.method}()`:{often} `{one.execution}`, by `{one.error}: {one.message}`"


def _one_line(message: str) -> str:
    """Return a message of a twist's as plain text in a code span: it can neither end that nor begin a line."""
    plain = re.sub(r"[\s\x00-\x1f\x7f]+", " ", message).replace("`", "'").strip()
    return plain if len(plain) <= _MESSAGE else f"{plain[:_MESSAGE]}…"
