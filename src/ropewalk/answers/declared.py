"""The URL patterns that a version declares, with an instance's options in the places that name one: `https://{tenant}.example.com/*`.

What is put in may say where within the pattern, and never widens it: it holds no `*`, no user name, no query, and only at a pattern's
very beginning (`{base_url}/*`) a scheme and a host. Before: the manifest, which was checked when it was stored. After: the guard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ropewalk.egress.patterns import BadPattern, Pattern, parse_pattern
from ropewalk.wire.control import Manifest, ToolInfo
from ropewalk.wire.messages import Json

_PLACE: Final = re.compile(r"\{([A-Za-z_]\w*)\}")
_BASE: Final = re.compile(r"https?://[^\s\x00-\x1f\x7f*@\\?#{}]+")
_PART: Final = re.compile(r"[A-Za-z0-9._~-]+(:[0-9]+)?")

Values = Mapping[str, Json | None]
"""The JSON of an instance's options by name."""


def option_values(manifest: Manifest, options: Json) -> Values:
    """Return what each of the twist's options is for an instance that was given `options`."""
    given = msgspec.json.decode(options, type=dict[str, msgspec.Raw])
    return {
        field.name: bytes(given[field.name]) if field.name in given else field.default
        for field in manifest.options
        if not field.ns and field.type != "secret"
    }


def declared_patterns(manifest: Manifest, tool: ToolInfo, options: Json) -> tuple[Pattern, ...]:
    """Return the URL patterns of a Network tool for an instance.

    Raises:
        BadPattern: one of them is none, or names an option that has no value, or one that would widen it.
    """
    return filled(declared_urls(tool), option_values(manifest, options))


def filled(urls: Iterable[str], values: Values) -> tuple[Pattern, ...]:
    """Return URL patterns with options filled in. Raises BadPattern."""
    return tuple(_filled(url, values) if names_options(url) else parse_pattern(url) for url in urls)


def _filled(url: str, values: Values) -> Pattern:
    text = _PLACE.sub(lambda place: _fill(place, values), url)
    try:
        return parse_pattern(text)
    except BadPattern as error:
        raise BadPattern(f"the URL pattern {url!r} with the options filled in: {error}") from None


def check_declared(manifest: Manifest, tool: ToolInfo) -> None:
    """Raise BadPattern when a pattern of a Network tool can never be one, or names an option that the twist does not have."""
    check_urls(manifest, declared_urls(tool))


def check_urls(manifest: Manifest, urls: Iterable[str]) -> None:
    """Raise BadPattern when one of these patterns can never be one, or names an option that the twist does not have, or a secret one."""
    own = {field.name: field for field in manifest.options if not field.ns}
    for url in urls:
        for place in _PLACE.finditer(url):
            if place[1] not in own:
                raise BadPattern(f"the URL pattern {url!r} names the option {place[1]!r}, which the twist does not have")
            if own[place[1]].type == "secret":
                raise BadPattern(f"the URL pattern {url!r} names the option {place[1]!r}, which is a secret: patterns are shown")
        if not _PLACE.search(url):
            parse_pattern(url)


def declared_urls(tool: ToolInfo) -> list[str]:
    """Return the URL patterns of a Network tool as they are written in its declaration.

    Raises:
        BadPattern: the tool's options have another form.
    """
    try:
        return msgspec.json.decode(tool.options, type=_Options).urls
    except msgspec.DecodeError as error:
        raise BadPattern(f"the options of the Network tool are not as they should be: {error}") from None


def names_options(url: str) -> bool:
    """Whether a pattern has places for options."""
    return _PLACE.search(url) is not None


def _fill(place: re.Match[str], values: Values) -> str:
    value = values.get(place[1])
    text = None if value is None else msgspec.json.decode(value)
    if not isinstance(text, str | int) or isinstance(text, bool):
        raise BadPattern(f"the option {place[1]!r} has no value that a URL pattern can be made of")
    text = str(text).rstrip("/")
    if place.start() == 0 and "://" in text:
        if not _BASE.fullmatch(text):
            raise BadPattern(
                f"the option {place[1]!r} is {text[:200]!r}, which would widen the URL pattern {place.string!r}: give a plain URL such as "
                "https://api.example.com"
            )
    elif not _PART.fullmatch(text):
        raise BadPattern(
            f"the option {place[1]!r} is {text[:200]!r}, which cannot stand in the URL pattern {place.string!r}: "
            + (
                "give a whole URL such as https://api.example.com"
                if place.start() == 0
                else "give a name, of letters, digits, '.', '_', '~' and '-'"
            )
        )
    return text


class _Options(msgspec.Struct, frozen=True):
    urls: list[str] = []
