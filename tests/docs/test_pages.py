"""The documentation agrees with the code, and with itself."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ropewalk import errors
from ropewalk.service.config import SETTINGS
from ropewalk.wire import messages
from tests.docs.blocks import PAGES, ROOT, Block, blocks, module
from tools import wire_doc

DOCS = ROOT / "docs"
ERRORS = [name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.RopewalkError)]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text(page), flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)]+)\)", text(page)) if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=str)
def test_python_blocks_parse(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_settings_are_documented(name: str) -> None:
    assert f"`{name}`" in text(DOCS / "operating.md")


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_documented(name: str) -> None:
    assert name in text(DOCS / "authoring.md")


def test_rooms_are_documented() -> None:
    rooms = {folder.name for folder in (ROOT / "src" / "ropewalk").iterdir() if (folder / "__init__.py").exists()}
    assert {room for room in rooms if f"`{room}/`" not in text(ROOT / "CONTRIBUTING.md")} == set()


def test_dependencies_have_their_reasons() -> None:
    project = re.search(r"^dependencies = \[(.*?)^\]", text(ROOT / "pyproject.toml"), re.DOTALL | re.MULTILINE)
    assert project is not None
    for name in re.findall(r'"([a-z-]+)>=', project[1]):
        assert re.search(rf"^\| .*\b{name}\b.* \| ", text(DOCS / "dependencies.md"), re.MULTILINE), name


def test_wire_page_is_made_from_the_code() -> None:
    assert wire_doc.page(text(wire_doc.PAGE)) == text(wire_doc.PAGE), "run `make docs`"


def test_wire_page_gives_places_as_they_are_sent() -> None:
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(messages.StoreRead(id=7, ns="calendar", keys=["a"])))
    assert sent == ["store.read", 7, "calendar", ["a"]]
    assert (
        "| 0 | | the tag, `store.read` | |\n| 1 | `id` | `int` |  |\n| 2 | `ns` | `str` |  |\n| 3 | `keys` | `[str]` |  |"
        in text(wire_doc.PAGE)
    )


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "authoring.md"], ids=lambda page: page.name)
def test_python_blocks_are_run(page: Path) -> None:
    tests = text(Path(__file__).with_name("test_guide_blocks.py"))
    names = {block.name for block in blocks(page) if block.language == "python"} - {"prelude"}
    assert {name for name in names if f'"{name}"' not in tests} == set()


def test_python_blocks_pass_mypy(tmp_path: Path) -> None:
    names = [block.name for block in blocks(DOCS / "authoring.md") if block.name and block.name != "prelude"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(module(name), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(tmp_path)]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
