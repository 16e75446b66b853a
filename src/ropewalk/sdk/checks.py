"""What keys, durations and times must be, before anything is sent. The host checks all of it again."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final, cast, get_args

from ropewalk.clock import Micros, from_datetime
from ropewalk.errors import InvalidValue, ValueTooLarge
from ropewalk.wire.messages import CatchUp

KEY_LIMIT: Final = 512
"""Most bytes of a key in UTF-8."""

BATCH_LIMIT: Final = 1_000
"""Most items of one call."""


def check_key(key: object) -> str:
    """Return `key` when it can name a value or a task.

    Raises:
        TypeError: it is no text.
        InvalidValue: it is empty, or has a NUL or a lone surrogate, which no database can keep.
        ValueTooLarge: it has more than 512 bytes in UTF-8.
    """
    if type(key) is str and key.isascii() and 0 < len(key) <= KEY_LIMIT and "\0" not in key:
        return key
    if key == "":
        raise InvalidValue("a key cannot be empty")
    return check_prefix(key)


def check_prefix(prefix: object) -> str:
    """Return `prefix` when it can begin a key; "" begins every one. Raises as `check_key`."""
    if not isinstance(prefix, str):
        raise TypeError(f"a key is a str, not {type(prefix).__name__}: {prefix!r:.80}")
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"the key {prefix!r:.80} has lone surrogates, which UTF-8 cannot say: replace them") from None
    if "\0" in prefix:
        raise InvalidValue(f"the key {prefix!r:.80} has a NUL character, which no database can keep: leave it out")
    if size > KEY_LIMIT:
        raise ValueTooLarge(f"the key {prefix[:40]!r}… has {size:,} bytes and may have {KEY_LIMIT}: hash its long part")
    return prefix


def check_text(text: object, name: str) -> str:
    """Return `text` when it is some. Raises TypeError, and InvalidValue for lone surrogates."""
    if not isinstance(text, str):
        raise TypeError(f"{name} is a str, not {type(text).__name__}: {text!r:.80}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{name}={text!r:.80} has lone surrogates, which UTF-8 cannot say") from None
    return text


def check_catch_up(word: object) -> CatchUp:
    """Return `word` when it says which missed runs are made up for. Raises ValueError."""
    for known in get_args(CatchUp):
        if word == known:
            return cast("CatchUp", known)
    raise ValueError(f"catch_up={word!r:.80} is none of 'one', 'all' and 'none'")


def check_batch(count: int, what: str) -> None:
    """Raise ValueTooLarge when one call has more than 1,000 items."""
    if count > BATCH_LIMIT:
        raise ValueTooLarge(f"{count:,} {what} in one call are over the limit of {BATCH_LIMIT:,}: split them")


def seconds(duration: object, name: str) -> float:
    """Return a duration in seconds.

    Raises:
        TypeError: it is neither a number nor a timedelta.
        ValueError: it is NaN or infinite.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(f"{name} is a timedelta or a number of seconds, not {duration!r:.80}")
    if not math.isfinite(duration):
        raise ValueError(f"{name}={duration!r} is no duration")
    return float(duration)


def positive_seconds(duration: object, name: str) -> float:
    """Return a duration above zero in seconds. Raises as `seconds`, and ValueError for zero or less."""
    value = seconds(duration, name)
    if value <= 0:
        raise ValueError(f"{name}={duration!r} is not above zero")
    return value


def micros(at: object, name: str) -> Micros:
    """Return an aware datetime as it is stored.

    Raises:
        TypeError: it is no datetime.
        ValueError: it is naive.
    """
    if not isinstance(at, datetime):
        raise TypeError(f"{name} is a datetime, not {at!r:.80}")
    return from_datetime(at)
