"""What a version of the clerk is: the code that is deployed, and what its manifest says.

Code ──► a bundle: the clerk's module, and `code.json`, which says how this version differs from others
     └─► the manifest of its light form, which the host is given in place of one that was described in the sandbox
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ropewalk.service.bundles import Packed, digest_of
from ropewalk.wire.control import Injection, Manifest, Method, OptionField, Parameter, RetryInfo, ScheduleInfo, ToolInfo
from ropewalk.wire.messages import PROTOCOL

NAME = "clerk"
METHODS = {"work": ["name", "spec"], "hook": ["request"], "tick": [], "daily": [], "options_changed": ["before"]}
"""The clerk's methods, with their parameters."""

EVERY = 600.0
"""Seconds between the ticks of `tick`; `daily` has twice as many."""

SECRET = "secret "
"""What the secret option has before the tone."""

ATTEMPTS = 4
_MODULE = Path(__file__).with_name("clerk.py")


class Code(Struct, frozen=True, kw_only=True):
    """How a version differs from others.

    Attributes:
        number: names it: no other code has it.
        origin: where its requests go.
        daily: whether it declares a schedule.
        asks: paths of `https://more.example` that it may ask for, beyond what every version may.
        upgrade: how the first attempts of `upgrade` end; what follows them succeeds.
    """

    number: int
    origin: str
    daily: bool = False
    asks: list[str] = []
    upgrade: list[str] = []

    @property
    def bundle(self) -> Packed:
        """The files, ready to be deployed."""
        files = {"twist.py": _MODULE.read_bytes(), "code.json": msgspec.json.encode(self)}
        return Packed(path=NAME, name=NAME, module="twist", cls=None, files=files, digest=digest_of(files))

    @property
    def manifest(self) -> Manifest:
        """What the version declares."""
        mine = f"{self.origin}/*"
        urls = [mine, *(f"https://more.example/{asked}/*" for asked in self.asks)]
        return Manifest(
            protocol=PROTOCOL,
            python="3.11",
            cls="Clerk",
            description="",
            methods=[
                Method(
                    ns="",
                    name=name,
                    parameters=[Parameter(name=one, kind="POSITIONAL_OR_KEYWORD", required=True) for one in parameters],
                )
                for name, parameters in METHODS.items()
            ],
            tools=[ToolInfo(ns="plot", kind="Plot"), ToolInfo(ns="web", kind="Network", options=_json({"urls": urls}))],
            options=[
                OptionField(ns="", name="tone", type="string", annotation="str", required=True, schema=b'{"type":"string"}'),
                OptionField(
                    ns="",
                    name="token",
                    type="secret",
                    annotation="Secret | None",
                    required=False,
                    default=b"null",
                    injected=Injection(urls=[mine], header="x-token"),
                ),
            ],
            retry=RetryInfo(attempts=ATTEMPTS, first=1.0, maximum=8.0),
            schedules=[ScheduleInfo(ns="", method="daily", key="daily", every=round(2e6 * EVERY))] if self.daily else [],
        )


def code_of(files: Mapping[str, bytes]) -> Code:
    """Return the code that a bundle holds."""
    return msgspec.json.decode(files["code.json"], type=Code)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
