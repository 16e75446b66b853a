"""Versions to run attempts of."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.playing import MakeVersion, Version, Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """What forks the processes that run attempts."""
    one = Zygote()
    yield one
    one.stop()


@pytest.fixture
def strict(request: pytest.FixtureRequest) -> bool:
    """Whether attempts import their module themselves; both for modules that say so (`IN_BOTH_MODES`)."""
    return getattr(request, "param", "standard") == "strict"


@pytest.fixture
def module(zygote: Zygote, tmp_path: Path, strict: bool) -> MakeVersion:
    """Return a version whose module is the given source."""
    return lambda source: Version(zygote, tmp_path, source, strict=strict)


@pytest.fixture
def twist(module: MakeVersion) -> MakeVersion:
    """Return a version whose twist's class has the given body."""
    return lambda body: module("class Sample(Twist):\n" + textwrap.indent(textwrap.dedent(body), "    "))
