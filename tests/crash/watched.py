"""Processes whose beginning and end are written into the journal, beyond the reach of any transaction: light ones and sandboxed ones alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import msgspec

from ropewalk.sandbox.interface import Ended, Image, Limits, OnEnd, OnMessage, Process, SandboxError, Source, Tap
from ropewalk.wire.messages import Finished, Raised, Start
from ropewalk.wire.replay import ReplayingHostMessage

Journal = Callable[..., None]
FAULT = "no process, and none of the reasons that there may be"


class Watched:
    """A process that is watched; implements `sandbox.interface.Process`."""

    def __init__(self, process: Process, image: Image, journal: Journal) -> None:
        self._process = process
        self._bundle = image.bundle
        self._journal = journal
        self._start: Start | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def listen(self, on_message: OnMessage, on_end: OnEnd, tap: Tap | None = None) -> None:
        def hear(message: Any) -> None:
            if isinstance(message, Finished | Raised):
                self._over()
            on_message(message)

        def end(ended: Ended) -> None:
            self._over()
            on_end(ended)

        self._process.listen(hear, end, tap)

    def start(self, message: ReplayingHostMessage, limits: Limits) -> None:
        assert isinstance(message, Start)
        self._start = message
        self._journal(
            began=message.execution,
            attempt=message.attempt,
            instance=message.instance,
            trigger=message.trigger,
            version=message.version,
            bundle=self._bundle,
            tone=msgspec.json.decode(message.options)["tone"],
            at=time.monotonic(),
        )
        self._process.start(message, limits)

    def kill(self, limit: str | None = None) -> None:
        self._over()
        self._process.kill(limit)

    def _over(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            self._journal(ended=start.execution, instance=start.instance)


class WatchedSource:
    """Gives watched processes; implements `sandbox.interface.Source`. With a `fault` it fails once: as no source should, or
    as one does on a host that cannot isolate.
    """

    def __init__(self, source: Source, journal: Journal) -> None:
        self._source = source
        self._journal = journal
        self.fault = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    async def take(self, image: Image) -> Process:
        if image.replays:
            return await self._source.take(image)
        fault, self.fault = self.fault, ""
        if fault:
            raise SandboxError(FAULT) if fault == "sandbox" else RuntimeError(FAULT)
        watched: object = Watched(await self._source.take(image), image, self._journal)
        return cast("Process", watched)  # what is not watched goes to the process itself
