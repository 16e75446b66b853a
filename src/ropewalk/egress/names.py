"""Internationalised host names: UTS 46, not transitional, as browsers have it (WHATWG's URL standard, domain to ASCII).

What comes out is ASCII, and the only ASCII of that name: an `xn--` label that no name would be written as is refused, since others may read
something else in it.
"""

from __future__ import annotations

import idna

PREFIX = "xn--"


def to_ascii(name: str) -> str:
    """Return a name's ASCII form. Raises UnicodeError, whose message says what is wrong."""
    return check(".".join(map(_encoded, idna.uts46_remap(name, std3_rules=True).split("."))))


def _encoded(label: str) -> str:
    if label.isascii():
        return label
    if label.startswith(PREFIX):
        raise UnicodeError(f"{label!r} looks like an encoded label and is none")
    return PREFIX + label.encode("punycode").decode("ascii")


def check(name: str) -> str:
    """Return a name in ASCII and lower case as it is. Raises UnicodeError when one of its labels only looks like an encoded one."""
    for label in name.split("."):
        if label.startswith(PREFIX):
            _check_encoded(label)
    return name


def _check_encoded(label: str) -> None:
    text = label.removeprefix(PREFIX).encode("ascii").decode("punycode")
    if text.isascii() or PREFIX + text.encode("punycode").decode("ascii") != label:
        raise UnicodeError(f"{label!r} encodes no label")
    if idna.uts46_remap(text, std3_rules=True) != text:
        raise UnicodeError(f"{label!r} encodes what is written otherwise")
    idna.check_initial_combiner(text)
    idna.check_bidi(text)
    if not all(idna.valid_contextj(text, place) for place, character in enumerate(text) if character in "\u200c\u200d"):
        raise UnicodeError(f"{label!r} encodes an invisible joiner where it joins nothing")
