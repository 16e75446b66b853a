"""What each field of an activity or note may hold, and its one stored form.

Every value comes from a guest: the wire has checked its type, the functions here check length, characters, times and JSON, and refuse by
name. InvalidValue says what the field holds and may not, ValueTooLarge gives the limit and the figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from ropewalk.clock import Micros, from_datetime, to_datetime
from ropewalk.errors import InvalidValue, ValueTooLarge
from ropewalk.wire.messages import Json, LinkRecord

TITLE_LIMIT: Final = 2_000
SOURCE_LIMIT: Final = 2_000
NAME_LIMIT: Final = 200
URL_LIMIT: Final = 4_000
CONTENT_LIMIT: Final = 1024 * 1024
META_LIMIT: Final = 64 * 1024
TAGS_LIMIT: Final = 100
LINKS_LIMIT: Final = 50

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9.+/-]{0,99}")
_LINK_URL = re.compile(r"(?:https?://|mailto:|tel:)[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,200}")
# Line breaks and tabs are text; NUL cannot be stored, and the others move a terminal's cursor.
_UNPRINTABLE_LINE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_JSON_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_EARLIEST: Final = from_datetime(datetime(1, 1, 2, tzinfo=UTC))
_LATEST: Final = from_datetime(datetime(9999, 12, 31, tzinfo=UTC))
_TYPES = ("note", "action", "event")


def identifier(text: str, what: str) -> str:
    """Return the id in its one form: a UUID in lower case with hyphens."""
    lower = text.lower()
    if not _UUID.fullmatch(lower):
        raise InvalidValue(f"{text[:60]!r} is no id of {what}: an id is a UUID")
    return lower


def title(text: str) -> str:
    """Return a title: one line."""
    if len(text) > TITLE_LIMIT:
        raise ValueTooLarge(
            f"a title of {len(text):,} characters is over the limit of {TITLE_LIMIT:,}: put the rest in a note ({text[:40]!r}…)"
        )
    if found := _UNPRINTABLE_LINE.search(text):
        raise InvalidValue(
            f"the title {text[:60]!r} holds the character U+{ord(found[0]):04X} at position {found.start()}: "
            "a title is one line without control characters"
        )
    return text


def content(text: str) -> str:
    """Return a note's content: any number of lines."""
    if len(text) * 4 > CONTENT_LIMIT and (size := size_of(text)) > CONTENT_LIMIT:
        raise ValueTooLarge(
            f"a note's content of {size:,} bytes is over the limit of {CONTENT_LIMIT:,}: keep a link or an excerpt"
        )
    if found := _UNPRINTABLE.search(text):
        raise InvalidValue(
            f"the note {text[:40]!r} holds the control character U+{ord(found[0]):04X} at position {found.start()}: leave it out"
        )
    return text


def source(text: str | None) -> str | None:
    """Return what names an activity where it came from, such as its URL there."""
    return _line(text, "source", SOURCE_LIMIT)


def meta(text: Json | None) -> Json | None:
    """Return meta, a JSON object, in compact form."""
    if text is None:
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"meta is not JSON: {error}") from None
    except RecursionError:
        raise InvalidValue("meta is nested too deep") from None
    return meta_object(value)


def moment(text: str | None, what: str) -> str | None:
    """Return a day (`2026-01-31`) as it is, or a date and time in UTC (`2026-01-31T09:00:00Z`), whatever zone it came in."""
    if text is None:
        return None
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
        if _MOMENT.fullmatch(text):
            return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"{what} {text!r} is no time: {error}") from None
    raise InvalidValue(f"{what} {text[:60]!r} is neither a date nor a date and time with its zone")


def check_span(start: str | None, end: str | None) -> None:
    """Raise InvalidValue when something ends before it starts. A day and a time are not compared."""
    if start is not None and end is not None and ("T" in start) == ("T" in end) and _comparable(end) < _comparable(start):
        raise InvalidValue(f"end {end} is before start {start}")


def instant_of(text: str, what: str) -> Micros:
    """Return the time that a text with its zone says."""
    if not _MOMENT.fullmatch(text):
        raise InvalidValue(f"{what} {text[:60]!r} is no date and time with its zone")
    return from_datetime(datetime.fromisoformat(moment(text, what) or ""))


def size_of(text: str) -> int:
    """Return how many bytes the text takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def instant(at: int | None, what: str) -> Micros | None:
    """Return a time in microseconds."""
    if at is not None and not _EARLIEST <= at <= _LATEST:
        raise InvalidValue(f"{what} {at} is no time between the years 1 and 9999")
    return at


def names(given: Sequence[str], what: str) -> list[str]:
    """Return short lines, each once, in order: tags, mentions."""
    if not given:
        return []
    if len(given) > TAGS_LIMIT:
        raise ValueTooLarge(f"{len(given):,} {what} are over the limit of {TAGS_LIMIT}")
    for each in given:
        _line(each, f"one of the {what}", NAME_LIMIT)
    return list(dict.fromkeys(given))


def links(given: Sequence[LinkRecord]) -> list[LinkRecord]:
    """Return the links under a note."""
    if not given:
        return []
    if len(given) > LINKS_LIMIT:
        raise ValueTooLarge(f"{len(given):,} links under a note are over the limit of {LINKS_LIMIT}")
    return [_link(link) for link in given]


def _link(link: LinkRecord) -> LinkRecord:
    if link.kind == "callback":
        if link.callback is None or not _TOKEN.fullmatch(link.callback):
            raise InvalidValue(f"the link {link.title[:60]!r} carries no callback")
    elif link.kind != "auth" and (link.url is None or not _LINK_URL.fullmatch(link.url)):
        raise InvalidValue(
            f"the link {link.title[:60]!r} leads to {str(link.url)[:80]!r}, which is no http, https, mailto or tel URL"
        )
    if link.url is not None and len(link.url) > URL_LIMIT:
        raise ValueTooLarge(
            f"the URL of the link {link.title[:60]!r} has {len(link.url):,} characters and may have {URL_LIMIT:,}"
        )
    return replace(link, title=title(link.title), provider=name(link.provider, "provider"))


def _line(text: str | None, what: str, limit: int) -> str | None:
    if text is None:
        return None
    if not text:
        raise InvalidValue(f"{what} is empty: leave it out, or pass None")
    if len(text) > limit:
        raise ValueTooLarge(f"{what} of {len(text):,} characters is over the limit of {limit:,} ({text[:40]!r}…)")
    if found := _UNPRINTABLE_LINE.search(text):
        raise InvalidValue(f"{what} {text[:60]!r} holds the character U+{ord(found[0]):04X}, which is not allowed there")
    return text


def name(text: str | None, what: str) -> str | None:
    """Return a short line, such as an actor's id."""
    return _line(text, what, NAME_LIMIT)


def key(text: str | None) -> str | None:
    """Return what names a note within its activity."""
    return _line(text, "key", NAME_LIMIT)


def kind(text: str) -> str:
    """Return an activity's type."""
    if text not in _TYPES:
        raise InvalidValue(f"{text[:40]!r} is no type of activity: note, action or event")
    return text


def content_type(text: str) -> str:
    """Return how a note's content is written: `markdown`, `text`, `html` or a media type."""
    if not _CONTENT_TYPE.fullmatch(text):
        raise InvalidValue(f"{text[:60]!r} is no content type")
    return text


def meta_object(value: object) -> Json | None:
    """Return meta that is a JSON value already, in compact form."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidValue(f"meta is a JSON {_json_kind(value)}, and has to be an object")
    text = msgspec.json.encode(value)
    if len(text) > META_LIMIT:
        raise ValueTooLarge(
            f"meta of {len(text):,} bytes is over the limit of {META_LIMIT:,}: keep it in the store and its key here"
        )
    if _JSON_NUL.search(text):
        raise InvalidValue("meta holds a NUL character, which no database can keep: leave it out")
    return text


def moment_at(at: Micros) -> str:
    """Return a stored time as `moment` writes it."""
    return _utc(to_datetime(at))


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _comparable(text: str) -> str:
    """Return a moment without its Z, so that `09:00:00` sorts before `09:00:00.5`."""
    return text.removesuffix("Z")


def _json_kind(value: object) -> str:
    match value:
        case list():
            return "array"
        case str():
            return "string"
        case bool():
            return "boolean"
        case _:
            return "number"
