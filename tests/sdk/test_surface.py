"""What `ropewalk` exports, and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ropewalk
from ropewalk import errors


def test_every_name_can_be_imported() -> None:
    for name in ropewalk.__all__:
        assert getattr(ropewalk, name).__doc__ or name == "ActivityRef"
    assert set(ropewalk.__all__) <= set(dir(ropewalk))


def test_types_see_the_names_that_are_exported() -> None:
    tree = ast.parse(Path(ropewalk.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == set(ropewalk.__all__)


def test_every_error_is_exported() -> None:
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.RopewalkError)}
    assert kinds <= set(ropewalk.__all__)


def test_unknown_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        getattr(ropewalk, "Nothing")  # noqa: B009 — type checkers know better


@pytest.mark.parametrize(
    ("module", "forbidden"), [("ropewalk", "msgspec asyncio logging"), ("ropewalk.tools", "asyncio ropewalk.guest")]
)
def test_importing_is_cheap(module: str, forbidden: str) -> None:
    code = f"import sys, {module}; sys.exit(sum(name in sys.modules for name in {forbidden.split()!r}))"
    assert (
        subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], check=False).returncode
        == 0
    )
