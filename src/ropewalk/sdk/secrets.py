"""Secrets among a twist's options.

One that is declared with `urls` never comes into the sandbox: the host puts it into the requests that match. One without is the twist's
to read. Neither shows in what is printed, logged or stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

from msgspec import Struct

from ropewalk.errors import PermissionDenied

HIDDEN: Final = "***"
"""What is shown in place of a secret."""


class Secret:
    """A secret option. Two are equal when they hold the same value of the same option; nothing but `reveal` shows it."""

    __slots__ = ("_absent", "_mark", "_value")

    def __init__(self, *, mark: str, value: str | None = None, absent: str = "") -> None:
        self._mark = mark
        self._value = value
        self._absent = absent

    def reveal(self) -> str:
        """Return the value.

        Raises:
            PermissionDenied: the host keeps it, and puts it into requests itself; or it is the one from before a change.
        """
        if self._value is None:
            raise PermissionDenied(self._absent)
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return self._mark == other._mark if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._mark)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be copied, pickled or stored: read it from self.options where it is used")


class SecretSpec(Struct, frozen=True, kw_only=True):
    """How a secret option was declared."""

    urls: list[str]
    header: str | None
    query: str | None
    format: str
    optional: bool


class _Required:
    """Says that no default was given."""


_REQUIRED: Final = _Required()


def secret(
    *,
    urls: Sequence[str] = (),
    header: str | None = None,
    query: str | None = None,
    format: str = "{}",  # noqa: A002 — the word that authors know it by
    default: _Required | None = _REQUIRED,
) -> Any:
    """Declare a secret option, such as one that the host sends as `Authorization: Bearer …` to the URLs of one service.

    Args:
        urls: patterns of the URLs that the host puts it into; each lies within what the twist's `Network` tools declare. The twist never
            holds the value then. Without any the twist reads it with `reveal()`.
        header: the header that carries it.
        query: the query parameter that carries it, in place of a header.
        format: the header's or parameter's value; `{}` stands for the secret.
        default: None makes it optional, of the type `Secret | None`.

    Raises:
        TypeError: the arguments do not go together.
    """
    if isinstance(urls, str):
        raise TypeError("secret(urls=…) takes a list of URL patterns")
    if urls and (header is None) == (query is None):
        raise TypeError('secret(urls=…) needs to know where the host is to put it: header="Authorization", or query="api_key"')
    if not urls and (header is not None or query is not None or format != "{}"):
        raise TypeError("secret() without urls is read by the twist with reveal(): header, query and format belong to urls")
    if format.count("{}") != 1 or format.count("{") != 1 or format.count("}") != 1:
        raise TypeError(f"secret(format={format!r}) needs one {{}}, where the secret goes")
    return SecretSpec(urls=list(urls), header=header, query=query, format=format, optional=default is None)
