"""What a command knows of its call: the flags, the settings that follow, and the way to the database."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ropewalk.cli.common.failures import Failed

if TYPE_CHECKING:
    from ropewalk.service.config import Settings
    from ropewalk.service.service import Service

ResultT = TypeVar("ResultT")


class State:
    """One call of the command line.

    Attributes:
        json: whether stdout is for a program.
        flags: settings that flags gave, by name.
        exit_code: what the process ends with when the command returns.
    """

    def __init__(self) -> None:
        self.json = False
        self.flags: dict[str, object] = {}
        self.exit_code = 0

    @cached_property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            SettingsError: a setting does not exist or does not fit.
        """
        from ropewalk.service.config import load

        return load(self.flags, os.environ, Path.cwd())

    def service(self, *, create: bool = False) -> AbstractAsyncContextManager[Service]:
        """Open the database; with `create` make it when it is not there."""
        settings = self.settings
        from ropewalk.service.service import open_service

        return open_service(settings, create=create)

    def run(self, main: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Run a command's coroutine. SIGTERM ends it as Ctrl-C does: everything that it started is stopped."""
        import asyncio  # a third of what `ropewalk --help` would take
        import logging

        from ropewalk.cli.common.telling import PeoplesLines, tell

        terminated = False

        async def guarded() -> ResultT:
            task = asyncio.ensure_future(main())

            def terminate() -> None:
                nonlocal terminated
                terminated = True
                task.cancel()

            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, terminate)
            try:
                return await task
            finally:
                loop.remove_signal_handler(signal.SIGTERM)

        tell(PeoplesLines(), logging.WARNING)
        try:
            return asyncio.run(guarded())
        except asyncio.CancelledError:
            if terminated:
                raise Failed("terminated", "terminated", exit_code=128 + signal.SIGTERM) from None
            raise KeyboardInterrupt from None


pass_state = click.make_pass_decorator(State)
"""Gives a command its `State` as first argument."""
