"""Hiding known secrets in what is logged, recorded, told or handed to a guest: as they are, and as texts usually carry them.

Looked for are the value itself, its lines, and what JSON, Python, HTML, URLs, base64 (wherever in a longer text it began) and hexadecimal
make of it. It is a safety net under code that means no harm: whoever holds a secret can write it in a way that nobody looks for.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

import msgspec

HIDDEN: Final = "***"
"""What is shown in place of a secret."""

SHORTEST: Final = 6
"""Characters from which on a text is looked for: a shorter one would hide half of what else is said."""


class Redactor:
    """Hides some secrets.

    Attributes:
        longest: bytes that the longest text has that is looked for.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {form for value in secrets for form in _forms(value) if len(form) >= SHORTEST}
        self._texts = sorted(found, key=len, reverse=True)
        self._bytes = [text.encode() for text in self._texts]
        self.longest = max(map(len, self._bytes), default=0)

    def hide(self, text: str) -> str:
        """Return a text with every secret in it replaced."""
        for form in self._texts:
            if form in text:
                text = text.replace(form, HIDDEN)
        return text

    def hide_json(self, text: bytes) -> bytes:
        """Return JSON with every secret in its texts and numbers replaced."""
        if not any(form in text for form in self._bytes):
            return text
        return msgspec.json.encode(self._hide_in(msgspec.json.decode(text)))

    def blank(self, data: bytes) -> bytes:
        """Return bytes, text or not, with every secret in them overwritten, so that lengths stay as they are."""
        for form in self._bytes:
            if form in data:
                data = data.replace(form, b"*" * len(form))
        return data

    def _hide_in(self, value: object) -> object:
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self._hide_in(item) for item in cast("list[object]", value)]
        if isinstance(value, dict):
            return {self.hide(key): self._hide_in(item) for key, item in cast("dict[str, Any]", value).items()}
        if isinstance(value, int | float) and self.hide(str(value)) != str(value):
            return HIDDEN
        return value


def _forms(value: str) -> Iterator[str]:
    """Yield what a secret may look like in a text."""
    yield from (value, *value.splitlines())
    data = value.encode(errors="replace")
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1], html.escape(value))
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield from (quoted, _lower_escapes(quoted))
    yield from (data.hex(), data.hex().upper())
    for offset, first in enumerate((0, 2, 3)):
        encoded = base64.b64encode(bytes(offset) + data).decode()
        whole = encoded[first : (offset + len(data)) * 8 // 6]
        yield from (whole, whole.replace("+", "-").replace("/", "_"))


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])
