"""Writes to the host's connection by itself: what an attacker does first."""

import base64
import os
import time
from typing import ClassVar

from ropewalk import Limits, Options, Twist
from ropewalk.tools import Network


class GarbleOptions(Options):
    """Which API."""

    base_url: str


class Garbles(Twist):
    """Speaks for itself."""

    limits: ClassVar[Limits] = Limits(cpu=2.0, wall=3.0, memory=64 * 1024 * 1024)
    options: GarbleOptions
    network = Network(urls=["{base_url}/*"])

    async def say(self, payload: str, then: str = "wait", times: int = 1) -> str:
        """Write bytes to every descriptor that takes them, then wait, return or exit."""
        await self.set("half", True)
        await self.keys()  # so that the host has heard it before the rest
        data = base64.b64decode(payload)
        for _ in range(times):
            for descriptor in range(3, 64):
                self.write(descriptor, data)
        if then == "exit":
            os._exit(0)
        while then == "wait":
            time.sleep(0.01)
        return "returned"

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of the data, if the descriptor can be written to."""
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            return

    async def fill(self, size: int) -> None:
        """Store a large value."""
        await self.set("large", "x" * size)

    async def benign(self) -> str:
        """Do what is right."""
        await self.set("benign", True)
        return "fine"
