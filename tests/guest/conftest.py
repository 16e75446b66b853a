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
def module(zygote: Zygote, tmp_path: Path) -> MakeVersion:
    """Return a version whose module is the given source."""
    return lambda source: Version(zygote, tmp_path, source)


@pytest.fixture
def twist(zygote: Zygote, tmp_path: Path) -> MakeVersion:
    """Return a version whose twist's class has the given body."""
    return lambda body: Version(zygote, tmp_path, "class Sample(Twist):\n" + textwrap.indent(textwrap.dedent(body), "    "))
