"""The twist that makes requests. The URL of the server is put in before it is deployed."""

from __future__ import annotations

import http.client
import time
from typing import ClassVar

from ropewalk import Twist
from ropewalk.tools import Network

_SERVER = "http://127.0.0.1:1"


class Fetching(Twist):
    """Makes many requests in one execution and says how many seconds they took, the first one aside."""

    network: ClassVar = Network(urls=[f"{_SERVER}/*"])

    async def fetch(self, count: int) -> float:
        """By Network.fetch."""
        await self.network.fetch(f"{_SERVER}/item")
        began = time.perf_counter()
        for _ in range(count):
            (await self.network.fetch(f"{_SERVER}/item")).json()
        return time.perf_counter() - began

    async def door(self, count: int) -> float:
        """By the standard library's client, through the door, over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", 3128)
        connection.request("GET", f"{_SERVER}/item")
        connection.getresponse().read()
        began = time.perf_counter()
        for _ in range(count):
            connection.request("GET", f"{_SERVER}/item")
            connection.getresponse().read()
        return time.perf_counter() - began
