"""The root command, and what becomes of every command's end: exit codes, errors, interruptions.

Nothing heavy is imported before a command is chosen: `ropewalk --help` reads the table below.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from ropewalk.cli.common.command import SHARED_HELP, Group, shared_options
from ropewalk.cli.common.failures import Failed, failure_of
from ropewalk.cli.common.output import error_document, safe, say
from ropewalk.cli.common.state import State

SECTIONS: Final[dict[str, dict[str, str]]] = {
    "Write and deploy": {
        "new": "Start a project that passes its own tests and lint.",
        "deploy": "Store a new version of a twist and upgrade its instances.",
        "rollback": "Deploy an older version's code again.",
        "grant": "Grant an instance what a new version asks for.",
        "activate": "Add a twist to a priority.",
        "deactivate": "Remove an instance for good.",
    },
    "Run": {
        "serve": "Run a node until it is told to stop.",
        "drain": "Run what is due in this process, then exit.",
        "invoke": "Call a method of an instance and show its result.",
        "suspend": "Have nothing more of an instance run.",
        "resume": "Let a suspended instance run again.",
    },
    "Look": {
        "twists": "List deployed twists.",
        "versions": "List the versions of a twist.",
        "instances": "List instances.",
        "tasks": "List pending tasks.",
        "executions": "List executions.",
        "execution": "Show everything about one execution.",
        "replay": "Run a recorded execution again, with no effect on anything.",
        "logs": "Show log lines.",
        "webhooks": "List what webhooks received.",
        "activities": "List activities.",
        "priorities": "List priorities.",
    },
    "Change": {
        "options": "Show or change an instance's options.",
        "store": "Read and write an instance's store.",
        "priority": "Make priorities.",
        "webhook": "List webhooks, show what one received, deliver it again.",
        "retry": "Run a failed or dead execution again.",
        "cancel": "Cancel a task or an execution.",
    },
    "Keep": {
        "doctor": "Check this host's isolation and the database's health.",
        "key": "Make, show and rotate the master key of secrets.",
        "config": "Show every setting and where its value comes from.",
        "egress": "Ask the guard that every HTTP request of a twist has to pass.",
    },
}
"""Every command with its summary, as the help shows them. The module of the same name holds it, as `command`."""

COMMANDS: Final = {name: summary for section in SECTIONS.values() for name, summary in section.items()}

_INTERRUPTED: Final = 130


class Root(Group):
    """The root command: finds the others in the table, loads one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        loaded: click.Command = importlib.import_module(f"ropewalk.cli.{cmd_name}").command
        return loaded

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with; what is none is answered with what is like it."""
        from ropewalk.cli.common.command import nearest_command

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}{nearest_command(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"ropewalk {version('ropewalk')}")
        ctx.exit()


root = Root(
    name="ropewalk",
    help="Run twists: small async Python programs, sandboxed, durable, each execution in a fresh process.",
    params=[
        *shared_options(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
        ),
    ],
    examples=(
        ("ropewalk new hello && ropewalk deploy hello", "a first twist"),
        ("ropewalk activate hello --wait", "an instance of it"),
        ("ropewalk serve", "a node that runs what is due"),
    ),
    epilog_notes=(SHARED_HELP,),
)
"""The command line as a whole."""


def run(args: Sequence[str]) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong usage, 3 not idle in time, 130 interrupted."""
    state = State()
    wants_json = "--json" in (args[: args.index("--")] if "--" in args else args)
    try:
        code: Any = root.main(args=list(args), prog_name="ropewalk", standalone_mode=False, obj=state)
    except click.UsageError as error:
        return _report_usage(error, wants_json=wants_json)
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted.")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 — the end of the line: every failure becomes a message and an exit code
        return _report(error, wants_json=wants_json)
    return state.exit_code if not isinstance(code, int) else code


def _report_usage(error: click.UsageError, *, wants_json: bool) -> int:
    if wants_json:
        click.echo(error_document(Failed("UsageError", error.format_message())))
    if error.ctx is not None:
        say(error.ctx.get_usage())
    say(f"Error: {safe(error.format_message(), lines=True)}")
    if error.ctx is not None:
        say(f"Try '{error.ctx.command_path} --help'.")
    return error.exit_code


def _report(error: Exception, *, wants_json: bool) -> int:
    failure = failure_of(error)
    if wants_json:
        _print_or_give_up(error_document(failure))
    if failure.unexpected:
        import traceback

        say(safe("".join(traceback.format_exception(error)), lines=True).rstrip())
        say("This is a mistake in Ropewalk, not in your twist. The database keeps what was committed.")
    else:
        say(f"Error: {safe(failure.told, lines=True)}")
    return failure.exit_code


def _print_or_give_up(document: bytes) -> None:
    """Print, unless whoever read our output has gone: then say nothing more there, not even at the interpreter's end."""
    try:
        click.echo(document)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
