"""The root command, help, usage errors, versions."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from ropewalk.cli.common.app import COMMANDS
from tests.cli.calling import Ropewalk


def leaves() -> list[list[str]]:
    """Return every command that does something, as its words."""
    found: list[list[str]] = []
    for name in COMMANDS:
        command: click.Command = importlib.import_module(f"ropewalk.cli.{name}").command
        found += [[name, below] for below in command.commands] if isinstance(command, click.Group) else [[name]]
    return found


def test_the_help_lists_every_command_with_its_summary(ropewalk: Ropewalk) -> None:
    done = ropewalk("--help")
    assert done.code == 0
    for name, summary in COMMANDS.items():
        assert name in done.out
        assert summary in done.out


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_every_command_explains_itself_with_examples(ropewalk: Ropewalk, words: list[str]) -> None:
    done = ropewalk(*words, "-h")
    assert done.code == 0
    assert f"ropewalk {' '.join(words)}" in done.out.partition("Examples:")[2]
    assert "--json" in done.out
    assert "--database" in done.out


def test_every_module_of_a_command_is_in_the_table() -> None:
    folder = Path(str(importlib.import_module("ropewalk.cli").__file__)).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(COMMANDS)


def test_the_version(ropewalk: Ropewalk) -> None:
    assert ropewalk("--version").out == f"ropewalk {version('ropewalk')}\n"


def test_without_a_command_it_helps(ropewalk: Ropewalk) -> None:
    done = ropewalk()
    assert done.code == 2
    assert "Write and deploy:" in done.err


def test_an_unknown_command_names_the_nearest(ropewalk: Ropewalk) -> None:
    done = ropewalk("deplyo")
    assert done.code == 2
    assert "there is no command 'deplyo': did you mean 'deploy'?" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments", [["twists", "--nonsense"], ["invoke"], ["executions", "--status", "tired"], ["drain", "--timeout", "x"]]
)
def test_wrong_usage_exits_2_and_says_so_in_json(ropewalk: Ropewalk, arguments: list[str]) -> None:
    done = ropewalk(*arguments, "--json")
    assert done.code == 2
    assert done.error[0] == "UsageError"
    assert "Error: " in done.err


def test_no_database_is_an_error_and_makes_none(ropewalk: Ropewalk) -> None:
    done = ropewalk("twists", "--json")
    assert done.code == 1
    assert "no database at" in done.error[1]
    assert list(ropewalk.folder.iterdir()) == []


def test_an_unknown_setting_is_wrong_usage(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_LIMIT_CPUS", "1")
    done = ropewalk("twists", "--json")
    assert done.code == 2
    assert done.error == (
        "SettingsError",
        "ROPEWALK_LIMIT_CPUS is no setting: the nearest is ROPEWALK_LIMIT_CPU (`ropewalk config` shows all)",
    )


def test_python_m_ropewalk() -> None:
    done = subprocess.run([sys.executable, "-m", "ropewalk", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ropewalk ")


def test_help_loads_nothing_heavy() -> None:
    probe = "import sys; from ropewalk.cli.common.app import run; run(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    for heavy in ("apsw", "asyncio", "httpx", "msgspec", "rich", "starlette", "uvicorn"):
        assert f"'{heavy}'" not in done.stderr


def test_whoever_stops_reading_gets_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m ropewalk config --json --database sqlite:///{tmp_path}/x.db"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}
    assert done.stderr == ""


# ── Settings ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_config_shows_every_value_with_its_source(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_LIMIT_WALL", "90s")
    (ropewalk.folder / "ropewalk.toml").write_text('limit_memory = "64MiB"\n')
    shown = ropewalk.json("config", "--port", "9000")
    assert (shown["port"]["value"], shown["port"]["source"]) == (9000, "flag --port")
    assert (shown["limit_wall"]["value"], shown["limit_wall"]["source"]) == (90.0, "variable ROPEWALK_LIMIT_WALL")
    assert (shown["limit_memory"]["value"], shown["limit_memory"]["source"]) == (
        67108864,
        f"file {ropewalk.folder}/ropewalk.toml",
    )
    assert (shown["concurrency"]["value"], shown["concurrency"]["source"]) == (8, "default")


def test_config_for_people_is_a_plain_table_in_a_pipe(ropewalk: Ropewalk) -> None:
    lines = ropewalk("config").out.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "SOURCE", "MEANING"]
    assert any(line.startswith("limit_cpu") for line in lines)


@pytest.mark.parametrize("arguments", [["--database", "sqlite:///a.db", "config"], ["config", "--database", "sqlite:///a.db"]])
def test_shared_flags_go_before_or_after_the_command(ropewalk: Ropewalk, arguments: list[str]) -> None:
    assert ropewalk.json(*arguments)["database"]["value"] == "sqlite:///a.db"


def test_json_may_be_asked_for_before_the_command(ropewalk: Ropewalk) -> None:
    assert "database" in json.loads(ropewalk("--json", "config").out)
