"""What a manifest's methods can be called with, said without the author's code: pure functions of the manifest."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Final

from ropewalk.storage.records import Use
from ropewalk.wire.control import Manifest, Method

_KINDS: Final = {
    kind.name: kind
    for kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    )
}
_REST: Final = ("VAR_POSITIONAL", "VAR_KEYWORD")


def signature_of(method: Method) -> inspect.Signature:
    """Return a method's signature, its own `self` aside.

    Raises:
        ValueError: there can be none with these parameters.
    """
    for one in method.parameters:
        if one.kind not in _KINDS:
            raise ValueError(f"{one.kind!r} is no kind of parameter")
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(one.name, _KINDS[one.kind], default=empty if one.required or one.kind in _REST else None)
            for one in method.parameters
        ]
    )


class Signatures:
    """A manifest's methods, as what is live may call them: by their names and by their former ones."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._tools = {"", *(tool.ns for tool in manifest.tools)}
        self._methods = {(method.ns, former): method for method in manifest.methods for former in method.renamed_from}
        self._methods |= {(method.ns, method.name): method for method in manifest.methods}

    def refusal(self, use: Use) -> str | None:
        """Return why what is live could not run, None when it could."""
        if use.ns not in self._tools:
            return f"there is no tool {use.ns!r}"
        method = self._methods.get((use.ns, use.method))
        if method is None:
            return "there is no such method"
        if use.positions is None:
            return None
        signature = signature_of(method)
        brings = range(len(method.parameters) + 1) if use.event is None else (use.event,)
        refused = [_refused(signature, event + use.positions, use.names) for event in brings]
        return None if None in refused else f"its arguments do not fit: {refused[0]}"


def _refused(signature: inspect.Signature, count: int, names: Collection[str]) -> str | None:
    try:
        signature.bind(*[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    return None
