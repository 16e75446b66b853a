"""What a request by `Network.fetch` costs, beside the same one by httpx outside the sandbox.

One execution makes many requests, one after another; so does an `httpx.AsyncClient` in this process, to the same server on loopback. Each
side keeps its connection. The server is a process of its own, so that it takes nobody's time but its own.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from bench.figures import Figure, Measured, ratio
from bench.floor import Floor
from bench.rig import Rig, folder, serving
from ropewalk.storage.records import Instance

_SERVER = Path(__file__).with_name("origin_process.py")
_TWIST = Path(__file__).with_name("fetching_twist.py")
_PLACE = "http://127.0.0.1:1"
"""What stands in the twist for the server's URL."""


async def measure(floor: Floor, *, quick: bool) -> Measured:
    """Measure requests from within an execution, each round beside one of httpx's."""
    rounds, count = (2, 50) if quick else (9, 400)
    result = Measured(figures=[], rounds={"fetch ms": [], "door ms": [], "httpx ms": []})
    with folder() as path, _server() as url:
        async with serving(path, allow_private=(f"{url}/*",), egress_burst=10**9) as rig:
            instance = await _prepare(rig, path, url)
            for _ in range(rounds):
                result.rounds["httpx ms"].append(await _by_httpx(url, count))
                for method in ("fetch", "door"):
                    _, executed = await rig.execute(instance.id, method, count)
                    seconds = msgspec.json.decode(executed.result, type=float)
                    result.rounds[f"{method} ms"].append(seconds * 1000 / count)
    result.figures = [
        Figure(name="fetch_vs_httpx_outside", value=ratio(result.rounds["fetch ms"], result.rounds["httpx ms"]), target=1.3),
        Figure(name="door_vs_httpx_outside", value=ratio(result.rounds["door ms"], result.rounds["httpx ms"])),
        Figure(name="fetch_ms", value=statistics.median(result.rounds["fetch ms"]), unit="ms", absolute=True),
    ]
    return result


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Run the server; gives its URL."""
    with subprocess.Popen([sys.executable, str(_SERVER)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _prepare(rig: Rig, path: Path, url: str) -> Instance:
    module = path / "fetching.py"
    module.write_text(_TWIST.read_text(encoding="utf-8").replace(_PLACE, url), encoding="utf-8")
    (instance,) = await rig.activate(await rig.deploy(module, "fetching"), 1)
    return instance


async def _by_httpx(url: str, count: int) -> float:
    """Return the milliseconds that a request takes, the first one aside."""
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.get(f"{url}/item")).json()
        began = time.perf_counter()
        for _ in range(count):
            (await client.get(f"{url}/item")).json()
        return (time.perf_counter() - began) * 1000 / count
