"""Every example of a webhook that GitHub publishes for its own clients, from npm's `@octokit/webhooks-examples`, checked by its hash."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Iterator
from functools import cache

import msgspec
from msgspec import Raw, Struct

URL = "https://registry.npmjs.org/@octokit/webhooks-examples/-/webhooks-examples-7.6.1.tgz"
INTEGRITY = "De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ=="
"""The package's SHA-512, as npm's registry has it."""


class Event(Struct):
    """One kind of event, with its examples."""

    name: str
    examples: list[Raw]


def examples() -> Iterator[tuple[str, bytes]]:
    """Give each example: its event's name, and the body as it was published, of github.com and of each release of its server."""
    with tarfile.open(fileobj=io.BytesIO(_package())) as package:
        for member in package:
            if member.name.endswith("/index.json"):
                file = package.extractfile(member)
                assert file is not None
                for event in msgspec.json.decode(file.read(), type=list[Event]):
                    for example in event.examples:
                        yield event.name, bytes(example)


@cache
def _package() -> bytes:
    with urllib.request.urlopen(URL, timeout=60) as answer:
        package: bytes = answer.read()
    assert base64.b64encode(hashlib.sha512(package).digest()).decode() == INTEGRITY, f"{URL} is not what it was"
    return package
