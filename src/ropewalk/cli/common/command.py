"""Commands and groups as this command line has them: shared flags, flags for settings, examples in the help."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from ropewalk.cli.common.state import State

Examples = Sequence[tuple[str, str]]
"""Command lines, each with what it does."""

SHARED_HELP = (
    "Settings come from flags, then ROPEWALK_* variables, then ropewalk.toml (`ropewalk config` shows them). "
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 drain not idle in time, 130 interrupted."
)

_HELP_NAMES = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def shared_options() -> list[click.Parameter]:
    """Return the flags that every command takes."""

    def set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        state = ctx.ensure_object(State)
        state.json = state.json or value

    return [
        click.Option(
            ["--database"],
            metavar="URL",
            expose_value=False,
            callback=_remember("database"),
            help="The database: sqlite:///relative.db or sqlite:////absolute.db.  [default: sqlite:///./ropewalk.db]",
        ),
        click.Option(["--json"], is_flag=True, expose_value=False, callback=set_json, help="Print JSON on stdout."),
    ]


def setting_options(names: Iterable[str]) -> list[click.Parameter]:
    """Return a flag for each of the settings that are named."""
    from ropewalk.service.config import SETTINGS

    wanted = set(names)
    return [
        click.Option(
            [setting.flag],
            metavar=None if setting.switch else "VALUE",
            is_flag=setting.switch,
            default=None,
            expose_value=False,
            callback=_remember(setting.name),
            help=f"{setting.meaning}  [{setting.variable}]",
        )
        for setting in SETTINGS
        if setting.name in wanted
    ]


def running_settings() -> list[str]:
    """Return the settings that matter to whatever runs executions."""
    from ropewalk.service.config import SETTINGS

    return [
        "allow_private",
        "isolation",
        "unsafe_no_sandbox",
        "node_memory",
        *(setting.name for setting in SETTINGS if setting.name.startswith("limit_")),
    ]


def _remember(name: str) -> Callable[[click.Context, click.Parameter, str | bool | None], None]:
    """Return a callback that keeps a flag's value as a setting."""

    def keep(ctx: click.Context, _: click.Parameter, value: str | bool | None) -> None:
        if value is not None:
            ctx.ensure_object(State).flags[name] = value

    return keep


def nearest_command(name: str, names: Iterable[str]) -> str:
    """Return words that name the command most like `name`."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f": did you mean {near[0]!r}?" if near else ": `ropewalk --help` lists them"


class Command(click.Command):
    """A command with the shared flags, flags for the settings that it names, and examples."""

    def __init__(self, *args: Any, examples: Examples = (), settings: Iterable[str] = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_HELP_NAMES, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params = (
            [*self.params, *setting_options(settings), *shared_options()] if settings else [*self.params, *shared_options()]
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(formatter, self.examples)


class Group(click.Group):
    """A group of commands, with examples of its own."""

    def __init__(self, *args: Any, examples: Examples = (), epilog_notes: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_HELP_NAMES, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.epilog_notes = epilog_notes
        self.command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and notes."""
        _write_examples(formatter, self.examples)
        for note in self.epilog_notes:
            formatter.write_paragraph()
            formatter.write_text(note)


def _write_examples(formatter: click.HelpFormatter, examples: Examples) -> None:
    if examples:
        with formatter.section("Examples"):
            for line, meaning in examples:
                formatter.write(f"{'':>{formatter.current_indent}}# {meaning}\n")
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
