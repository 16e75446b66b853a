"""What an attempt knows of its instance's store without asking: what its event brought along, kept up by its own writes.

Nobody else writes to the store while the attempt runs, so what is known stays true. Whatever might have gone otherwise (a write that
failed, or whose time to live the host reckons) is not known any more, and the host is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

from ropewalk.wire.messages import Json

ASK: Final = b""
"""In place of a value: only the host knows. No JSON text is empty."""


class StoreView:
    """Values by namespace and key.

    Args:
        store: the whole store, by namespace and key, the view's own from now on; None when only the host has it.
    """

    __slots__ = ("_elsewhere", "_known")

    def __init__(self, store: dict[str, dict[str, Json]] | None) -> None:
        self._known = cast("dict[str, dict[str, Json | None]]", {} if store is None else store)
        self._elsewhere = ASK if store is None else None

    def find(self, ns: str, key: str) -> Json | None:
        """Return the value of a key, None when it has none, or `ASK`."""
        known = self._known.get(ns)
        return self._elsewhere if known is None else known.get(key, self._elsewhere)

    def note(self, ns: str, values: Mapping[str, Json | None]) -> None:
        """Take note of values that are as good as written; None is what was removed."""
        self._known.setdefault(ns, {}).update(values)

    def doubt(self, ns: str, keys: Iterable[str]) -> None:
        """Have the host asked for these keys from now on."""
        self.note(ns, dict.fromkeys(keys, ASK))

    def doubt_all(self, ns: str, prefix: str) -> None:
        """Have the host asked for whatever is known to be under a prefix."""
        self.doubt(ns, [key for key in self._known.get(ns, ()) if key.startswith(prefix)])
